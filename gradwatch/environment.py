"""The environment variables that set defaults; apart from what reads them, which is too heavy for a shell command."""

FAIL_FAST_VARIABLE = "GRADWATCH_FAIL_FAST"
RUN_DIR_VARIABLE = "GRADWATCH_RUN_DIR"
