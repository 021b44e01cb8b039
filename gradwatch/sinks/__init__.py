"""Where drained records go while training runs."""

from gradwatch.sinks.base import Sink
from gradwatch.sinks.mlflow import MLflowSink
from gradwatch.sinks.parquet import ParquetSink
from gradwatch.sinks.tensorboard import TensorBoardSink
from gradwatch.sinks.wandb import WandbSink

__all__ = ["MLflowSink", "ParquetSink", "Sink", "TensorBoardSink", "WandbSink"]
