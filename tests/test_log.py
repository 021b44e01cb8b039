import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from pages import Page

from gradwatch import schema
from gradwatch.log import Log, load
from gradwatch.records import RunInfo, VariableInfo
from gradwatch.testing import merged_log, synthetic_log

VARIABLES = {"a/kernel": (3, 4), "a/bias": (4,), "b/kernel": (4, 1)}


def test_empty_log_has_every_column():
    log = Log()
    assert list(log.frame().columns) == list(schema.FRAME_COLUMNS)
    assert "variable" not in log.layers().columns
    assert list(log.steps().columns) == list(schema.STEPS_TABLE_COLUMNS)
    assert list(log.variables().columns) == list(schema.VARIABLES_TABLE_COLUMNS)
    assert log.wide("grad_norm").shape == (0, 0)
    assert len(log) == log.num_steps == 0
    assert "0 steps" in repr(log)
    for table in (log.frame(), log.steps()):
        assert table["step"].dtype == np.int64


def test_frame_is_one_row_a_step_and_variable_in_model_order():
    log = synthetic_log(num_steps=2, variables=VARIABLES, detached=["a/bias"])
    frame = log.frame()
    assert frame["variable"].tolist() == ["a/kernel", "a/bias", "b/kernel"] * 2
    assert frame["layer"].tolist() == ["a", "a", "b"] * 2
    assert frame["detached"].tolist() == [False, True, False] * 2
    assert frame["grad_norm"].isna().tolist() == [False, True, False] * 2
    assert frame["nan_count"].isna().tolist() == [False, True, False] * 2
    assert str(frame["nan_count"].dtype) == "Int64"
    for column in (*schema.STEP_COLUMNS, *schema.STATISTICS):
        if column.name in frame:
            assert str(frame[column.name].dtype) == column.dtype, column.name


def test_what_is_done_to_a_table_is_not_done_to_the_log():
    log = synthetic_log(num_steps=2)
    for table in (log.frame(), log.layers()):
        for name in table.select_dtypes("number"):
            table[name].array[:] = 7
    assert (log.frame()["grad_norm"] != 7).all()
    assert (log.frame()["nan_count"] == 0).all()
    assert log.frame()["step"].unique().tolist() == [0, 1]


def test_statistic_that_was_not_taken_is_missing():
    log = synthetic_log(weight_norm=None, update_norm=None)
    assert log.frame()["weight_norm"].isna().all()
    assert log.wide("update_norm").isna().all(axis=None)


@hypothesis.given(
    hnp.arrays(np.float64, (4, 3), elements=st.floats(0, 1e200)),
    hnp.arrays(np.float64, (4, 3), elements=st.floats(0, 1)),
)
@hypothesis.settings(deadline=None, max_examples=30)
def test_layers_against_an_oracle(norms, zeros):
    log = synthetic_log(num_steps=4, variables=VARIABLES, grad_norm=norms, zero_fraction=zeros)
    layers = log.layers().pivot(index="step", columns="layer", values=["grad_norm", "zero_fraction"])
    kept = log.wide("grad_norm").to_numpy()
    peak = np.maximum(kept[:, :2].max(axis=1), 1e-300)
    want = peak * np.sqrt(np.sum(np.square(kept[:, :2] / peak[:, None]), axis=1))
    np.testing.assert_allclose(layers["grad_norm"]["a"], want, rtol=1e-6)
    fractions = log.wide("zero_fraction").to_numpy()
    np.testing.assert_allclose(layers["zero_fraction"]["a"], fractions[:, :2] @ [12, 4] / 16, rtol=1e-6)
    np.testing.assert_allclose(layers["grad_norm"]["b"], kept[:, 2], rtol=1e-6)


def test_counts_of_a_layer_are_summed_and_bad_layers_stay_apart():
    log = synthetic_log(num_steps=1, variables=VARIABLES, nan_count={"a/kernel": 2, "a/bias": 1})
    layers = log.layers().set_index("layer")
    assert layers["nan_count"].to_dict() == {"a": 3, "b": 0}


def test_steps_has_the_global_norm():
    log = synthetic_log(num_steps=1, variables=VARIABLES, grad_norm=[[3.0, 0.0, 4.0]])
    assert log.steps()["global_norm"].tolist() == [5.0]


def test_several_optimizers_are_merged_by_step():
    d = synthetic_log(num_steps=2, variables={"d/kernel": (2, 2)}, optimizer="d", step=[0, 2])
    g = synthetic_log(num_steps=2, variables={"g/kernel": (2, 2)}, optimizer="g", step=[1, 3])
    log = merged_log(d, g)
    assert log.steps()["optimizer"].tolist() == ["d", "g", "d", "g"]
    assert log.frame()["variable"].tolist() == ["d/kernel", "g/kernel"] * 2
    wide = log.wide("grad_norm")
    assert wide.index.tolist() == [0, 1, 2, 3]
    assert wide["d/kernel"].isna().tolist() == [False, True, False, True]
    assert log.variables().set_index("variable")["optimizer"].to_dict() == {"d/kernel": "d", "g/kernel": "g"}


def test_variables_table():
    log = synthetic_log(variables=VARIABLES, detached=["a/bias"], unoptimized=["b/kernel"])
    table = log.variables().set_index("variable")
    assert table["detached"].to_dict() == {"a/kernel": False, "a/bias": True, "b/kernel": False}
    assert table["optimizer"].isna().to_dict() == {"a/kernel": False, "a/bias": False, "b/kernel": True}
    assert table.loc["a/kernel", "shape"] == (3, 4)
    assert table.loc["a/kernel", "size"] == 12


@pytest.mark.parametrize("name", ["log.parquet", "run"])
def test_save_and_load(tmp_path, name):
    log = synthetic_log(variables=VARIABLES, detached=["a/bias"])
    log.save(tmp_path / name)
    again = load(tmp_path / name)
    pd.testing.assert_frame_equal(again.frame(), log.frame())
    pd.testing.assert_frame_equal(again.variables(), log.variables())
    assert again.info == log.info


def test_tail():
    log = synthetic_log(num_steps=10, variables=VARIABLES)
    assert log.tail(3).steps()["step"].tolist() == [7, 8, 9]
    assert log.tail(0).num_steps == 0
    assert log.tail(99).num_steps == 10
    with pytest.raises(ValueError, match="num_steps=-1"):
        log.tail(-1)


def test_unknown_statistic():
    with pytest.raises(ValueError, match="'norm'"):
        synthetic_log().wide("norm")


def test_shows_itself():
    log = synthetic_log(num_steps=3, variables={"<b>/kernel": (2, 2)}, grad_norm=[1, 2, 0.25])
    assert repr(log) == "<gradwatch.Log: 3 steps (0 to 2), 1 variables, 3 records>"
    page = Page(log._repr_html_())
    assert page.open == []
    assert "b" not in page.tags
    assert "3 steps (0 to 2)" in page.text
    assert "<b>/kernel 2\N{MULTIPLICATION SIGN}2 float32 adam 0.25" in page.text


def test_shows_of_each_variable_what_there_is():
    infos = {f"layer_{i}/kernel": (2, 2) for i in range(30)}
    log = synthetic_log(
        num_steps=2,
        variables=infos,
        detached=["layer_1/kernel"],
        unoptimized=["layer_2/kernel"],
        nan_count={"layer_3/kernel": [0, 1]},
        info=RunInfo(model="net", every_steps=5),
    )
    text = Page(log._repr_html_()).text
    assert text.startswith("Log of net")
    assert "one step in 5" in text
    assert text.count("no gradient") == text.count("NaN") == 1
    assert "and 10 more, see log.variables()" in text
    assert "0 steps" in Page(Log()._repr_html_()).text


def test_scalar_and_empty_variables_have_a_size():
    assert VariableInfo("w", "w", (), "float32").size == 1
    assert VariableInfo("w", "w", (0, 3), "float32").size == 0
