"""A log on disk: a `.parquet` file, or a run directory of parts and a manifest.

The rows are tidy Parquet that pandas, DuckDB and Polars read as it is; what makes a log of them again (variables,
segments, facts about the run, checksums) stands as JSON beside them. Nothing is ever pickled.
"""

from gradwatch.store.bad_step import StoredArray
from gradwatch.store.directory import Earlier, bad_steps, earlier, read, read_bad_step, write
from gradwatch.store.folders import StrPath, folder, is_url, local_path
from gradwatch.store.header import cause_of
from gradwatch.store.lock import Lock, is_locked
from gradwatch.store.manifest import claim, unwritable
from gradwatch.store.run import RunDirectory

__all__ = [
    "Earlier",
    "Lock",
    "RunDirectory",
    "StoredArray",
    "StrPath",
    "bad_steps",
    "cause_of",
    "claim",
    "earlier",
    "folder",
    "is_locked",
    "is_url",
    "local_path",
    "read",
    "read_bad_step",
    "unwritable",
    "write",
]
