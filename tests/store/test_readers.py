"""What other tools make of a run directory as it is."""

import duckdb
import numpy as np
import pandas as pd
import polars
import pytest
from samples import INFO, VARIABLES, make_segment

from gradwatch import schema, store
from gradwatch.log import Log


@pytest.fixture(params=["open", "closed"])
def run(request, tmp_path):
    """A run directory with all that may lie in it, and its log."""
    directory = store.RunDirectory(tmp_path)
    directory.update(VARIABLES, INFO)
    segments = [make_segment(5, (0, 2), (1,)), make_segment(3, (3,), optimizer="sgd", first=5, dtype="float64")]
    segments[0].values["grad_norm"][1, 0] = np.nan
    for segment in segments:
        directory.append([segment])
    directory.add_bad_step({"step": 1}, [store.StoredArray("variable", "kernel", np.ones(3))])
    directory.write_findings("{}")
    if request.param == "closed":
        directory.compact()
        directory.close()
    return tmp_path, Log(VARIABLES, segments, INFO).frame()


def check(table, frame):
    table = table.sort_values(["step", "variable"], ignore_index=True)
    frame = frame.astype(dict.fromkeys(("optimizer", "layer", "variable"), str))
    frame = frame.sort_values(["step", "variable"], ignore_index=True)
    assert len(table) == len(frame)
    for name in schema.FRAME_COLUMNS:
        mine, theirs = frame[name].to_numpy(), table[name].to_numpy()
        if mine.dtype.kind == "f" or frame[name].dtype == "Int64":
            mine, theirs = (pd.to_numeric(column[name]).to_numpy(float, na_value=np.nan) for column in (frame, table))
            np.testing.assert_array_equal(theirs, mine)
        else:
            assert theirs.tolist() == mine.tolist(), name


def test_duckdb(run):
    path, frame = run
    with duckdb.connect() as connection:
        table = connection.execute(f"select * from read_parquet('{path}/*.parquet')").df()
        (worst,) = connection.execute(
            f"select variable, max(grad_norm) as worst from '{path}/*.parquet' where not detached "
            "and not isnan(grad_norm) group by variable order by worst desc limit 1"
        ).fetchall()
    check(table.astype({"variable": str}), frame)
    known = frame[~frame["detached"]].groupby("variable", observed=True)["grad_norm"].max()
    assert worst == (known.idxmax(), known.max())


def test_polars(run):
    path, frame = run
    table = polars.scan_parquet(f"{path}/*.parquet").collect()
    check(table.to_pandas().astype({"variable": str}), frame)
    assert table["grad_norm"].null_count() == frame["detached"].sum()  # a NaN is not missing


def test_pandas(run):
    path, frame = run
    check(pd.read_parquet(path).astype({"variable": str}), frame)
