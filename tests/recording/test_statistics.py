import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from programs import oracle

from gradwatch.recording import groups, statistics

NAMES = statistics.GRADIENT_STATISTICS
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, max_side=6)
# Numbers that float32 keeps; TensorFlow flushes those below 1.2e-38 to zero.
NUMBERS = st.floats(width=32, allow_subnormal=False)
ORDINARY = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)


def grouped(*grads):
    return groups.group([grad if isinstance(grad, tf.IndexedSlices) else tf.constant(grad) for grad in grads])


def by_gradient(grads, flat, names):
    """The statistics, `[statistics * variables]` in the order of the groups, as a dict a gradient."""
    order = [position for group in grouped(*grads) for position in group.positions]
    table = np.reshape(flat, (len(names), len(grads)))
    return [dict(zip(names, table[:, order.index(position)])) for position in range(len(grads))]


def measured(*grads, names=NAMES):
    """The second pass."""
    parts = grouped(*grads)
    sizes = [int(np.prod(grads[part.positions[0]].shape)) for part in parts]
    return by_gradient(grads, statistics.exact(parts, sizes, names, compiled=False).numpy(), names)


def quickly_measured(*grads):
    """The first pass, and whether it tells the truth."""
    parts = grouped(*grads)
    norms = statistics.first_norms(parts)
    return by_gradient(grads, statistics.quick(norms, NAMES).numpy(), NAMES), bool(statistics.is_plain(parts, norms))


def assert_true(got, grad, rtol=1e-5):
    want = oracle(grad)
    for name in NAMES:
        np.testing.assert_allclose(got[name], want[name], rtol=rtol, err_msg=name)


@hypothesis.given(hnp.arrays(np.float32, SHAPES, elements=NUMBERS))
@hypothesis.settings(deadline=None)
def test_any_gradient_against_the_oracle(grad):
    assert_true(measured(grad)[0], grad)


@hypothesis.given(
    st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
        lambda dtype: hnp.arrays(dtype, SHAPES, elements=st.floats(width=16, allow_subnormal=False))
    ),
    st.booleans(),
)
@hypothesis.settings(deadline=None)
def test_first_pass_is_plain_only_where_it_tells_the_truth(grad, is_large):
    if is_large:
        grad = np.resize(grad, 5000) if grad.size else np.zeros(5000, grad.dtype)
    (got,), plain = quickly_measured(grad)
    want = oracle(grad)
    if np.isfinite(grad).all() and (not is_large or want["grad_norm"] > 1e-10) and grad.dtype != np.float64:
        assert plain
    if plain:
        for name in ("grad_norm", "nan_count", "inf_count"):
            np.testing.assert_allclose(got[name], want[name], rtol=1e-5, err_msg=name)
        assert np.isnan(got["grad_max"])
        assert np.isnan(got["zero_fraction"])


@pytest.mark.parametrize("size", [10, 5000])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_first_pass_sees_one_bad_entry(size, value):
    grad = np.ones(size, np.float32)
    grad[7] = value
    assert not quickly_measured(np.ones(3, np.float32), grad)[1]


@pytest.mark.parametrize(("loss", "plain"), [(1.0, True), (np.nan, False), (-np.inf, False)])
def test_a_bad_loss_is_not_plain(loss, plain):
    parts = grouped(np.ones(3, np.float32))
    assert bool(statistics.is_plain(parts, statistics.first_norms(parts), tf.constant(loss))) == plain


def test_gradients_of_one_shape_keep_their_own_numbers():
    rng = np.random.default_rng(0)
    grads = [rng.normal(size=shape).astype("float32") for shape in [(3,), (2, 2), (3,), (5000,), (2, 2), (3,)]]
    grads[2][:] = 0
    assert [part.positions for part in grouped(*grads)] == [(0, 2, 5), (1, 4), (3,)]
    quick, plain = quickly_measured(*grads)
    assert plain
    for grad, exact, first in zip(grads, measured(*grads), quick):
        assert_true(exact, grad)
        assert first["grad_norm"] == pytest.approx(exact["grad_norm"], rel=1e-6)


@hypothesis.given(hnp.arrays(np.float64, SHAPES, elements=st.floats(-1e100, 1e100, allow_subnormal=False)))
@hypothesis.settings(deadline=None)
def test_float64_gradient_against_the_oracle(grad):
    assert_true(measured(grad)[0], grad, rtol=1e-12)


@hypothesis.given(hnp.arrays(np.float16, SHAPES, elements=st.floats(width=16, allow_subnormal=False)))
@hypothesis.settings(deadline=None)
def test_float16_gradient_does_not_overflow(grad):
    assert_true(measured(grad)[0], grad)


@hypothesis.given(
    hnp.arrays(np.float32, (5, 3), elements=ORDINARY), st.lists(st.integers(0, 7), min_size=5, max_size=5)
)
@hypothesis.settings(deadline=None)
def test_sparse_gradient_is_the_summed_one(values, indices):
    dense = np.zeros((8, 3), np.float32)
    np.add.at(dense, indices, values)
    slices = tf.IndexedSlices(tf.constant(values), tf.constant(indices), tf.constant([8, 3]))
    slices_shape = tf.TensorShape([8, 3])
    assert slices.shape == slices_shape
    got, want = measured(slices)[0], oracle(dense)
    np.testing.assert_allclose(got["grad_norm"], want["grad_norm"], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(got["grad_max"], want["grad_max"], rtol=1e-4, atol=1e-3)


def test_sparse_gradient_counts_over_the_whole_table():
    values = np.array([[1.0, np.nan], [2.0, 3.0], [np.inf, 0.0]], np.float32)
    slices = tf.IndexedSlices(tf.constant(values), tf.constant([4, 4, 1]), tf.constant([10, 2]))
    got = measured(slices)[0]
    assert got["nan_count"] == 1
    assert got["inf_count"] == 1
    assert got["zero_fraction"] == pytest.approx(17 / 20)
    assert got["grad_max"] == 3


def test_empty_sparse_gradient_is_zero():
    slices = tf.IndexedSlices(tf.zeros([0, 3]), tf.zeros([0], tf.int32), tf.constant([4, 3]))
    got = measured(slices)[0]
    assert got["grad_norm"] == 0
    assert got["zero_fraction"] == 1


def test_one_bad_gradient_does_not_touch_the_others():
    good, bad = np.arange(4, dtype=np.float32), np.array([1, np.nan, np.inf], np.float32)
    first, second = measured(good, bad)
    assert_true(first, good)
    assert_true(second, bad)


@pytest.mark.parametrize("value", [1e30, 3e38, 1e-25, 1e-37, 0.0])
def test_norm_where_float32_squares_overflow_or_vanish(value):
    grad = np.full(1000, value, np.float32)
    got = measured(grad)[0]
    assert got["nan_count"] == got["inf_count"] == 0
    assert got["grad_norm"] == pytest.approx(float(grad[0]) * np.sqrt(1000), rel=1e-5)


def test_empty_variable():
    got = measured(np.zeros((0, 3), np.float32))[0]
    assert got["grad_norm"] == 0
    assert np.isnan(got["grad_max"])
    assert np.isnan(got["zero_fraction"])


@hypothesis.given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=2), elements=NUMBERS))
@hypothesis.settings(deadline=None)
@pytest.mark.parametrize("taken", [True, False])
def test_all_finite(taken, grad):
    parts = grouped(grad, np.ones(2, np.float32))
    norms = statistics.first_norms(parts) if taken else None
    assert bool(statistics.all_finite(parts, norms)) == bool(np.isfinite(grad).all())


def test_count_nonfinite_skips_what_is_no_float():
    tensors = [tf.constant([1.0, np.nan]), tf.constant([1, 2]), tf.constant(["a"]), tf.constant([[np.inf, -np.inf]])]
    assert statistics.count_nonfinite(tensors).numpy() == 3
    assert statistics.count_nonfinite([tf.constant([1])]).numpy() == 0


def test_xla_agrees():
    grad = np.random.default_rng(0).normal(size=(300, 500)).astype("float32")
    grad[::3] = 0

    @tf.function(jit_compile=True)
    def compiled(tensor):
        return statistics.exact(groups.group([tensor]), [grad.size], NAMES, compiled=True)

    assert_true(dict(zip(NAMES, compiled(tf.constant(grad)).numpy())), grad, rtol=1e-6)
