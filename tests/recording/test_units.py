import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from hypothesis.extra import numpy as hnp

from gradwatch.recording.units import MAX_LOOKS, MIN_LOOKS, Layer, Units, layers_of


def test_which_layers_have_units():
    paths = [
        "emb/embeddings",
        "a/kernel",
        "a/bias",
        "b/kernel",
        "norm/gamma",
        "mha/key/kernel",
        "mha/key/bias",
        "c/kernel",
    ]
    shapes = [(9, 3), (3, 4), (4,), (4, 5), (5,), (5, 2, 3), (2, 3), (6, 1)]
    assert layers_of(paths, shapes, [True] * 8) == [
        Layer(2, 4, is_kernel=False),
        Layer(3, 5, is_kernel=True),
        Layer(6, 6, is_kernel=False),
    ]
    assert layers_of(["a/kernel", "a/bias"], [(3, 4), (4,)], [False, False]) == []
    assert layers_of([], [], []) == []


def oracle(grads):
    """Dead shares and spreads after the last of some looks, in float64 NumPy; `[looks, units]`."""
    looks = len(grads)
    needed = min(max(looks // 2, MIN_LOOKS), MAX_LOOKS)
    dead = (grads[-needed:] == 0).all(axis=0).mean() if looks >= MIN_LOOKS else np.nan
    last = grads[-1].astype(np.float64)
    with np.errstate(all="ignore"):
        return dead, (last.max() - last.min()) / np.abs(last).max()


@hypothesis.given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 30), st.just(6)),
        elements=st.one_of(st.just(0.0), st.floats(-3, 3, width=32)),
    )
)
@hypothesis.settings(deadline=None, max_examples=25)
def test_against_an_oracle(grads):
    bias, kernel = Layer(0, 6, is_kernel=False), Layer(1, 2, is_kernel=True)
    units = Units([bias, kernel])
    for grad in grads:
        dead, spread = units.look([tf.constant(grad), tf.constant(grad.reshape(3, 2))])
    columns = np.abs(grads.reshape(len(grads), 3, 2)).max(axis=1)
    for position, table in enumerate([grads, columns]):
        want = oracle(table)
        np.testing.assert_allclose([dead[position], spread[position]], want, rtol=1e-12)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_graph(jit_compile):
    units = Units([Layer(0, 4, is_kernel=False)])
    look = tf.function(lambda grad: units.look([grad]), jit_compile=jit_compile)
    for _ in range(MIN_LOOKS):
        dead, spread = look(tf.constant([0.0, 1.0, -1.0, 0.0]))
    assert (dead.numpy().tolist(), spread.numpy().tolist()) == ([0.5], [2.0])
    for _ in range(MIN_LOOKS):
        dead, _ = look(tf.constant([1.0, 1.0, 0.0, 0.0]))
    assert dead.numpy().tolist() == [0.5]


def test_nan_is_no_zero():
    units = Units([Layer(0, 2, is_kernel=False)])
    for _ in range(MIN_LOOKS):
        dead, _ = units.look([tf.constant([np.nan, 0.0])])
    assert dead.numpy().tolist() == [0.5]
