import numpy as np
import pytest
import tensorflow as tf

from gradwatch.recording.branch import only_if


def double(x):
    return [2 * x, tf.reduce_sum(x)]


def nothing(x):
    return [tf.zeros([0]), tf.constant(np.nan, tf.float32)]


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_of_two_functions_is_called(traced, jit_compile):
    def run(wanted, x):
        results, kept = only_if(wanted, double, lambda x: [tf.zeros([2]), tf.constant(-1.0)], [x])
        graph_needs.append(kept)
        return results

    graph_needs = []
    run = tf.function(run, autograph=False, jit_compile=jit_compile) if traced else run
    x = tf.constant([1.0, 2.0])
    assert [r.numpy().tolist() for r in run(tf.constant(True), x)] == [[2, 4], 3]
    assert [r.numpy().tolist() for r in run(tf.constant(False), x)] == [[0, 0], -1]


def test_without_a_condition_it_is_called_always():
    results, kept = only_if(None, double, nothing, [tf.constant([3.0])])
    assert ([r.numpy().tolist() for r in results], kept) == ([[6], 3], [])


def test_it_is_one_operation_and_knows_its_shapes():
    variable = tf.Variable([1.0, 2.0])
    kept = []

    @tf.function(autograph=False)
    def run(wanted):
        results, needs = only_if(wanted, lambda: [variable * 3.0], lambda: [tf.zeros([0])], [])
        kept.extend(needs)
        assert results[0].shape.as_list() == [None]
        return results[0]

    graph = run.get_concrete_function(tf.constant(True)).graph
    assert [op.type for op in graph.get_operations() if "If" in op.type or "cond" in op.name.lower()] == ["If"]
    assert run(tf.constant(True)).numpy().tolist() == [3, 6]
    assert run(tf.constant(False)).numpy().tolist() == []
