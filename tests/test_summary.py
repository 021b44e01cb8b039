import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from gradwatch import schema, summary
from gradwatch.log import Log
from gradwatch.records import Output
from gradwatch.testing import merged_log, synthetic_log

SHAPES = {"a/kernel": (3, 4), "a/bias": (4,), "b/kernel": (4, 2)}


def log_of(grads, **values):
    """A log with the norms of some gradients: a list over steps of dicts from path to array."""
    norms = np.array([[np.linalg.norm(step[path].astype(np.float64)) for path in SHAPES] for step in grads])
    zeros = np.array([[np.mean(step[path] == 0) for path in SHAPES] for step in grads])
    values = {"grad_norm": norms, "zero_fraction": zeros, **values}
    return synthetic_log(num_steps=len(grads), variables=SHAPES, **values)


entries = st.floats(-1e3, 1e3, width=32)
steps_of_grads = st.lists(
    st.fixed_dictionaries({path: npst.arrays(np.float32, shape, elements=entries) for path, shape in SHAPES.items()}),
    min_size=1,
    max_size=3,
)


@settings(max_examples=40, deadline=None)
@given(steps_of_grads)
def test_rms_and_layer_numbers_equal_those_of_the_raw_gradients(grads):
    log = log_of(grads)
    (segment,) = log.segments
    expected = [[np.sqrt(np.mean(np.float64(step[path]) ** 2)) for path in SHAPES] for step in grads]
    np.testing.assert_allclose(summary.rms(log, segment), expected, rtol=1e-12)
    for row, step in enumerate(grads):
        layers = [np.concatenate([step["a/kernel"].ravel(), step["a/bias"]]), step["b/kernel"].ravel()]
        layers = [np.float64(layer) for layer in layers]
        np.testing.assert_allclose(summary.layer_norms(log, segment)[row], [np.linalg.norm(g) for g in layers])
        np.testing.assert_allclose(summary.layer_rms(log, segment)[row], [np.sqrt(np.mean(g**2)) for g in layers])
        nonzero = [np.sqrt(np.mean(g[g != 0] ** 2)) if g.any() else 0 for g in layers]
        np.testing.assert_allclose(summary.layer_rms(log, segment, nonzero=True)[row], nonzero, rtol=1e-6)


def test_layers_and_their_matrices():
    log = synthetic_log(variables={**SHAPES, "norm/gamma": (2,)})
    (segment,) = log.segments
    columns = {layer: list(c) for layer, c in summary.layers(log, segment).items()}
    matrices = {layer: list(c) for layer, c in summary.weight_layers(log, segment).items()}
    assert columns == {"a": [0, 1], "b": [2], "norm": [3]}
    assert matrices == {"a": [0], "b": [2]}


def test_all_layers_count_where_only_one_has_a_matrix():
    log = synthetic_log(variables={"a/kernel": (3, 4), "norm/gamma": (4,)})
    assert list(summary.weight_layers(log, log.segments[0])) == ["a", "norm"]


def test_update_ratio_is_missing_for_weights_that_are_all_zero():
    log = synthetic_log(num_steps=2, variables={"a/kernel": (2, 2)}, weight_norm=[0.0, 2.0], update_norm=1.0)
    np.testing.assert_array_equal(summary.update_ratio(log, log.segments[0]), [[np.nan], [0.5]])


def test_what_was_not_taken_is_missing():
    log = synthetic_log(num_steps=2, **dict.fromkeys(schema.VALUE_NAMES))
    (segment,) = log.segments
    assert segment.values == {}
    assert np.isnan(summary.rms(log, segment)).all()
    assert np.isnan(summary.layer_rms(log, segment, nonzero=True)).all()
    assert summary.nonfinite(segment) is None
    assert summary.zero(segment) is None
    assert summary.zero_streaks(log) is None


@pytest.mark.parametrize("counted", [True, False])
def test_nonfinite_by_count_or_by_norm(counted):
    left_out = {} if counted else {"nan_count": None, "inf_count": None}
    log = synthetic_log(num_steps=2, variables=SHAPES, grad_norm={"b/kernel": [1.0, np.nan]}, **left_out)
    expected = [[False] * 3, [False, False, not counted]]
    np.testing.assert_array_equal(summary.nonfinite(log.segments[0]), expected)


def test_an_infinite_norm_of_finite_entries_is_not_a_nonfinite_gradient():
    log = synthetic_log(num_steps=1, grad_norm=np.inf, nan_count=0, inf_count=0)
    assert not summary.nonfinite(log.segments[0]).any()


def test_a_norm_that_underflows_is_not_zero():
    log = synthetic_log(num_steps=1, grad_norm=0, zero_fraction=None, grad_max={"dense/kernel": 0.0})
    np.testing.assert_array_equal(summary.zero(log.segments[0]), [[True, False, False, False]])


@settings(max_examples=60, deadline=None)
@given(npst.arrays(bool, (12, 3)), st.lists(st.booleans(), min_size=12, max_size=12))
def test_zero_streaks_equal_a_count_from_the_end(zeros, in_first):
    in_first = np.array(in_first)
    parts = [
        synthetic_log(num_steps=int(rows.sum()), variables=SHAPES, step=np.flatnonzero(rows), optimizer=name,
                      zero_fraction=zeros[rows].astype(float))
        for name, rows in [("one", in_first), ("two", ~in_first)]
    ]  # fmt: skip
    streaks = summary.zero_streaks(merged_log(*parts))
    for column in range(len(SHAPES)):
        alive = np.flatnonzero(~zeros[:, column])
        start = alive[-1] + 1 if len(alive) else 0
        expected = [12, 12 - start, start if start < 12 else -1]
        assert [numbers[column] for numbers in (streaks.judged, streaks.streak, streaks.first_step)] == expected


def test_rows():
    log = synthetic_log(num_steps=5, grad_norm=[1, np.nan, 1, np.inf, 1])
    rows = summary.finite_rows(log.segments[0])
    assert summary.last_rows(rows, 2).tolist() == [2, 4]
    assert summary.last_rows(rows, 0).tolist() == []
    assert summary.first_rows(rows, 2).tolist() == [0, 2]


def test_wide_puts_segments_of_several_optimizers_into_one_table():
    one = synthetic_log(num_steps=2, variables={"d/kernel": (2, 2)}, step=[0, 2], optimizer="d", grad_norm=[2, 4])
    two = synthetic_log(num_steps=2, variables={"g/kernel": (2, 2)}, step=[1, 3], optimizer="g", grad_norm=[6, 8])
    log = merged_log(one, two)
    expected = [[1, np.nan], [np.nan, 3], [2, np.nan], [np.nan, 4]]
    table = summary.wide(log, summary.rms)
    assert list(table.columns) == ["d/kernel", "g/kernel"]
    assert list(table.index) == [0, 1, 2, 3]
    np.testing.assert_array_equal(table, expected)
    layers = summary.wide_layers(log, summary.layer_rms)
    assert list(layers.columns) == ["d", "g"]
    np.testing.assert_array_equal(layers, expected)


def test_tables_of_an_empty_log():
    assert summary.wide(Log(), summary.rms).shape == (0, 0)
    assert summary.wide_layers(Log(), summary.layer_rms).shape == (0, 0)
    assert len(summary.zero_streaks(Log()).judged) == 0


@given(npst.arrays(np.float64, st.integers(10, 80), elements=st.floats(1e-3, 1e3)))
@settings(deadline=None, max_examples=30)
def test_gain_against_an_oracle(loss):
    (segment,) = synthetic_log(num_steps=len(loss), loss=loss).segments
    tenth = len(loss) // 10
    first, last = np.median(loss[:tenth]), np.median(loss[len(loss) - tenth :])
    assert summary.gain(segment) == pytest.approx(1 - last / first)


def test_gain_of_too_few_losses_and_of_none():
    assert np.isnan(summary.gain(synthetic_log(num_steps=9).segments[0]))
    assert np.isnan(summary.gain(synthetic_log(loss=None).segments[0]))
    assert summary.gain(synthetic_log(loss=0.0).segments[0]) == 0


@pytest.mark.parametrize(
    ("loss", "units", "targets", "no_skill"),
    [
        ("sparse_categorical_crossentropy", 10, (0, 9), np.log(10)),
        ("BinaryCrossentropy", 1, (0, 1), np.log(2)),
        ("MeanSquaredError", 1, (-3, 3), 3.0),
        ("mean_absolute_error", 1, (0, 8), 2.0),
        ("Huber", 1, (0, 8), np.nan),
        ("mean_squared_error", 1, (2, 2), np.nan),
        ("mean_squared_error", 1, (None, None), np.nan),
    ],
)
def test_loss_against_no_skill(loss, units, targets, no_skill):
    log = synthetic_log(loss=0.6)
    output = Output("head", "linear", units, loss, False, *targets)
    log = Log(log.variable_infos, log.segments, dataclasses.replace(log.info, output=output))
    np.testing.assert_allclose(summary.against_no_skill(log, log.segments[0]), 0.6 / no_skill)


def test_a_bias_of_two_axes_is_no_matrix():
    shapes = {"key/kernel": (4, 2, 3), "key/bias": (2, 3), "norm/gamma": (4,)}
    log = synthetic_log(variables=shapes)
    assert summary.matrices_of(log, log.segments[0]).tolist() == [True, False, False]
