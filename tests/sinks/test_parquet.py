import numpy as np
import pytest

from gradwatch import sinks, store
from gradwatch.records import STEP_DTYPES, RunInfo, Segment, VariableInfo

VARIABLES = tuple(VariableInfo(f"dense/{name}", "dense", (2,), "float32") for name in ("kernel", "bias", "scale"))
INFO = RunInfo(model="net")


def make_segment(first, num_steps=2, variables=(0, 1)):
    steps = {name: np.zeros(num_steps, dtype) for name, dtype in STEP_DTYPES.items()}
    steps["step"] += np.arange(first, first + num_steps)
    return Segment("adam", variables, (), steps, {"grad_norm": np.ones((num_steps, len(variables)), np.float32)})


def steps_in(path):
    return [step for segment in store.read(path)[1] for step in segment.steps["step"].tolist()]


def num_parts(path):
    return len(list(path.glob("*.parquet")))


def test_is_a_sink(tmp_path):
    assert isinstance(sinks.ParquetSink(tmp_path), sinks.Sink)


def test_a_flush_is_one_part(tmp_path):
    sink = sinks.ParquetSink(tmp_path)
    for first in (0, 2, 4):
        sink.write([make_segment(first)], VARIABLES, INFO)
    assert steps_in(tmp_path) == []
    sink.flush()
    sink.flush()
    assert steps_in(tmp_path) == list(range(6))
    assert num_parts(tmp_path) == 1


def test_writes_by_itself_when_much_has_come(tmp_path):
    sink = sinks.ParquetSink(tmp_path, max_records=8)
    for first in range(0, 10, 2):
        sink.write([make_segment(first)], VARIABLES, INFO)
    assert steps_in(tmp_path) == list(range(8))
    assert num_parts(tmp_path) == 2


def test_variables_are_known_before_the_first_record(tmp_path):
    sinks.ParquetSink(tmp_path).write([], VARIABLES, INFO)
    assert store.read(tmp_path) == (VARIABLES, (), INFO)


def test_variables_may_come_in_between(tmp_path):
    sink = sinks.ParquetSink(tmp_path)
    sink.write([make_segment(0, variables=(0,))], VARIABLES[1:], INFO)
    sink.write([make_segment(2, variables=(0,))], VARIABLES, INFO)
    sink.close()
    assert [segment.variables for segment in store.read(tmp_path)[1]] == [(1,), (0,)]


def test_close_flushes_and_may_be_called_twice(tmp_path):
    sink = sinks.ParquetSink(tmp_path)
    sink.write([make_segment(0)], VARIABLES, INFO)
    sink.close()
    sink.close()
    assert steps_in(tmp_path) == [0, 1]


def test_records_are_kept_when_the_disk_is_full(tmp_path, monkeypatch):
    sink = sinks.ParquetSink(tmp_path)
    sink.write([make_segment(0)], VARIABLES, INFO)
    with monkeypatch.context() as patch:
        patch.setattr(store.RunDirectory, "append", raise_disk_full)
        with pytest.raises(OSError, match="No space left"):
            sink.flush()
    sink.flush()
    assert steps_in(tmp_path) == [0, 1]


def test_refuses_a_directory_of_something_else(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match=r"thesis\.tex"):
        sinks.ParquetSink(tmp_path)


def test_refuses_a_size_that_makes_no_sense(tmp_path):
    with pytest.raises(ValueError, match="max_records=0"):
        sinks.ParquetSink(tmp_path, max_records=0)


def raise_disk_full(*_):
    raise OSError(28, "No space left on device")
