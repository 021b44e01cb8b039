"""Where drained records go while training runs."""

from gradwatch.sinks.base import Sink
from gradwatch.sinks.parquet import ParquetSink

__all__ = ["ParquetSink", "Sink"]
