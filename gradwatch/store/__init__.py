"""A log on disk: a `.parquet` file, or a run directory of parts and a manifest.

The rows are tidy Parquet that pandas, DuckDB and Polars read as it is; what makes a log of them again (variables,
segments, facts about the run, checksums) stands as JSON beside them. Nothing is ever pickled.
"""

from gradwatch.store.bad_step import StoredArray
from gradwatch.store.bad_step import read as read_bad_step
from gradwatch.store.directory import RunDirectory, bad_steps, check_writable, read, write
from gradwatch.store.header import cause_of

__all__ = ["RunDirectory", "StoredArray", "bad_steps", "cause_of", "check_writable", "read", "read_bad_step", "write"]
