import dataclasses
import pathlib
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from samples import INFO, VARIABLES, assert_same, make_segment, raise_disk_full

from gradwatch import schema, store
from gradwatch.errors import LogFormatError
from gradwatch.records import STEP_DTYPES, RunInfo, Segment
from gradwatch.store import header, rows

MANIFEST = "_manifest.json"


@st.composite
def drawn_segments(draw):
    segments = []
    for number in range(draw(st.integers(0, 3))):
        indices = draw(st.permutations(range(6)))
        num_attached, num_detached = draw(st.integers(0, 4)), draw(st.integers(0, 2))
        num_steps = draw(st.integers(0, 5))
        steps = {name: draw(hnp.arrays(dtype, num_steps)) for name, dtype in STEP_DTYPES.items()}
        values = {}
        for name in schema.STATISTIC_NAMES:
            if draw(st.booleans()):
                dtypes = (np.int32, np.int64) if name in schema.COUNTS else (np.float32, np.float64)
                values[name] = draw(hnp.arrays(draw(st.sampled_from(dtypes)), (num_steps, num_attached)))
        attached, detached = indices[:num_attached], indices[num_attached : num_attached + num_detached]
        segments.append(Segment(f"optimizer_{number}", tuple(attached), tuple(detached), steps, values))
    return segments


@pytest.mark.parametrize("name", ["log.parquet", "run"])
@given(segments=drawn_segments())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path, name, segments):
    path = tmp_path / name
    store.write(path, VARIABLES, segments, INFO)
    variables, read, info = store.read(path)
    assert (variables, info) == (VARIABLES, INFO)
    assert_same(read, segments)


def test_many_row_groups_are_put_together_again(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAX_ROWS", 7)
    segments = [make_segment(20, (0, 2, 5), (1,)), make_segment(9, (4,), optimizer="sgd")]
    store.write(tmp_path / "log.parquet", VARIABLES, segments, INFO)
    assert pq.read_metadata(tmp_path / "log.parquet").num_row_groups == 20 + 2
    assert_same(store.read(tmp_path / "log.parquet")[1], segments)


def test_segments_of_equal_key_are_joined(tmp_path):
    store.write(tmp_path / "run", VARIABLES, [make_segment(3), make_segment(2, first=3)], INFO)
    ((segment,), whole) = store.read(tmp_path / "run")[1], make_segment(5)
    np.testing.assert_array_equal(segment.steps["step"], whole.steps["step"])
    assert segment.values["grad_norm"].shape == (5, 3)


@pytest.mark.parametrize("name", ["log.parquet", "run"])
def test_pandas_reads_tidy_rows(tmp_path, name):
    store.write(tmp_path / name, VARIABLES, [make_segment(2, (0, 2), (1,))], INFO)
    table = pd.read_parquet(tmp_path / name)
    extra = ["loss", "nonfinite_loss", "learning_rate", "loss_scale", "overflow", "replica", "nonfinite_inputs"]
    assert list(table.columns) == [*schema.FRAME_COLUMNS, *extra, *schema.SIGNAL_NAMES, "segment"]
    assert list(table["variable"]) == [variable.path for variable in VARIABLES[:3]] * 2
    assert list(table["step"]) == [0, 0, 0, 1, 1, 1]
    assert list(table["detached"]) == [False, True, False] * 2
    assert list(table["grad_norm"].isna()) == [False, True, False] * 2
    assert table["update_norm"].isna().all()
    assert table["loss_scale"].isna().all()
    assert isinstance(table["layer"].dtype, pd.CategoricalDtype)
    assert list(table["nan_count"].dropna()) == [0, 1, 2, 3]


def test_nan_is_kept_apart_from_missing(tmp_path):
    segment = make_segment(1, (0,), (1,))
    segment.values["grad_norm"][:] = np.nan
    store.write(tmp_path / "log.parquet", VARIABLES, [segment], INFO)
    column = pq.read_table(tmp_path / "log.parquet")["grad_norm"].combine_chunks()
    assert column.is_null().to_pylist() == [False, True]
    assert column.is_null(nan_is_null=True).to_pylist() == [True, True]


def test_files_have_the_same_types_whatever_the_dtypes(tmp_path):
    with store.RunDirectory(tmp_path) as run:
        run.update(VARIABLES, INFO)
        run.append([make_segment(dtype="float32")])
        run.append([make_segment(dtype="float64", first=4, optimizer="sgd")])
    expected = np.concatenate(
        [make_segment().values["grad_norm"], make_segment(dtype="float64", first=4).values["grad_norm"]]
    )
    np.testing.assert_array_equal(pd.read_parquet(tmp_path)["grad_norm"], expected.ravel())


class TestWrite:
    def test_replaces_the_log_that_is_there(self, tmp_path):
        for name in ("run", "log.parquet"):
            store.write(tmp_path / name, VARIABLES, [make_segment(8)], INFO)
            store.write(tmp_path / name, VARIABLES[:1], [make_segment(1, (0,))], RunInfo())
            variables, segments, info = store.read(tmp_path / name)
            assert (variables, info) == (VARIABLES[:1], RunInfo())
            assert_same(segments, [make_segment(1, (0,))])
        assert len(list((tmp_path / "run").glob("*.parquet"))) == 1

    def test_refuses_a_directory_of_something_else(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("precious")
        with pytest.raises(FileExistsError, match=r"other than a gradwatch run.*thesis\.tex.*Give"):
            store.write(tmp_path, VARIABLES, [], INFO)
        assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]

    def test_refuses_a_directory_with_a_manifest_of_something_else(self, tmp_path):
        (tmp_path / MANIFEST).write_text("{}")
        with pytest.raises(FileExistsError, match="Cannot replace"):
            store.write(tmp_path, VARIABLES, [], INFO)

    def test_leaves_other_files_of_a_run_alone(self, tmp_path):
        store.write(tmp_path, VARIABLES, [], INFO)
        (tmp_path / "report.html").write_text("kept")
        store.write(tmp_path, VARIABLES, [], INFO)
        assert (tmp_path / "report.html").exists()

    def test_says_what_cannot_be_written(self, tmp_path):
        (tmp_path / "file").touch()
        for path in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / "no" / "log.parquet"):
            with pytest.raises(OSError, match=r"Cannot write the log\. Received: .* Give"):
                store.write(path, VARIABLES, [], INFO)

    def test_refuses_values_it_does_not_keep(self, tmp_path):
        segment = make_segment()
        for values in ({"grad_norm": np.zeros((4, 2))}, {"nan_count": np.zeros((4, 3))}, {"entropy": np.zeros((4, 3))}):
            with pytest.raises(ValueError, match="does not keep"):
                store.write(tmp_path / "a.parquet", VARIABLES, [dataclasses.replace(segment, values=values)], INFO)
        with pytest.raises(ValueError, match="Make the variables known"):
            store.write(tmp_path / "a.parquet", VARIABLES[:2], [segment], INFO)
        assert not list(tmp_path.iterdir())

    def test_an_interrupted_write_leaves_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "log.parquet"
        store.write(path, VARIABLES, [make_segment()], INFO)
        monkeypatch.setattr(pathlib.Path, "replace", raise_disk_full)
        with pytest.raises(OSError, match="No space left"):
            store.write(path, VARIABLES, [make_segment(9)], INFO)
        assert_same(store.read(path)[1], [make_segment()])
        assert [entry.name for entry in tmp_path.iterdir()] == ["log.parquet"]


class TestRead:
    def test_nothing_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="There is no log"):
            store.read(tmp_path / "nothing")

    def test_directory_of_something_else(self, tmp_path):
        with pytest.raises(LogFormatError, match="has no _manifest"):
            store.read(tmp_path)

    def test_foreign_parquet(self, tmp_path):
        pq.write_table(pa.table({"step": [1]}), tmp_path / "a.parquet")
        with pytest.raises(LogFormatError, match=r"a\.parquet.*gradwatch did not write"):
            store.read(tmp_path / "a.parquet")

    def test_not_parquet(self, tmp_path):
        (tmp_path / "a.csv").write_text("step,loss\n1,2\n")
        with pytest.raises(LogFormatError, match=r"a\.csv"):
            store.read(tmp_path / "a.csv")

    @pytest.mark.parametrize("name", ["log.parquet", "run"])
    def test_newer_version(self, tmp_path, monkeypatch, name):
        monkeypatch.setattr(schema, "SCHEMA_VERSION", 7)
        store.write(tmp_path / name, VARIABLES, [make_segment()], INFO)
        monkeypatch.undo()
        with pytest.raises(LogFormatError, match=r"newer gradwatch.*version 7.*pip install"):
            store.read(tmp_path / name)

    def test_fields_of_a_later_release_are_left_out(self, tmp_path, monkeypatch):
        to_json = header.to_json
        monkeypatch.setattr(header, "to_json", lambda *args: {"mood": "good", **to_json(*args)})
        store.write(tmp_path, VARIABLES, [make_segment()], INFO)
        assert store.read(tmp_path)[0] == VARIABLES

    def test_truncated_file(self, tmp_path):
        path = tmp_path / "log.parquet"
        store.write(path, VARIABLES, [make_segment()], INFO)
        content = path.read_bytes()
        for length in [*range(0, len(content), 997), len(content) - 1]:
            path.write_bytes(content[:length])
            with pytest.raises(LogFormatError, match=r"log\.parquet"):
                store.read(path)

    @given(where=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255), in_manifest=st.booleans())
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_a_flipped_byte_never_gives_wrong_data(self, tmp_path, where, mask, in_manifest):
        segments = [make_segment(), make_segment(2, (3,), (4,), "sgd")]
        store.write(tmp_path / "run", VARIABLES, segments, INFO)
        path = tmp_path / "run" / MANIFEST if in_manifest else next((tmp_path / "run").glob("part-*"))
        content = bytearray(path.read_bytes())
        content[int(where * len(content))] ^= mask
        path.write_bytes(content)
        error = None
        try:
            variables, read, info = store.read(tmp_path / "run")
        except LogFormatError as raised:
            error = raised
        shutil.rmtree(tmp_path / "run")
        if error is None:
            assert (variables, info) == (VARIABLES, INFO)
            assert_same(read, segments)
        else:
            assert path.name in str(error)

    def test_a_lost_part(self, tmp_path):
        with store.RunDirectory(tmp_path) as run:
            run.update(VARIABLES, INFO)
            for first in (0, 4, 8):
                run.append([make_segment(first=first)])
        parts = sorted(tmp_path.glob("part-*"))
        for lost in parts:
            content = lost.read_bytes()
            lost.unlink()
            with pytest.raises(LogFormatError, match=f"{lost.name} is missing"):
                store.read(tmp_path)
            lost.write_bytes(content)
