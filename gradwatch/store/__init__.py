"""A log on disk: a `.parquet` file, or a run directory of parts and a manifest.

The rows are tidy Parquet that pandas, DuckDB and Polars read as it is; what makes a log of them again (variables,
segments, facts about the run, checksums) stands as JSON beside them. Nothing is ever pickled.
"""

from gradwatch.store.directory import RunDirectory, check_writable, read, write

__all__ = ["RunDirectory", "check_writable", "read", "write"]
