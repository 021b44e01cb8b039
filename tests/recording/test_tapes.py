import threading

import pytest
import tensorflow as tf

from gradwatch.recording.tapes import LISTENED_TO, Tapes, listen

variable = tf.Variable(2.0)
other = tf.Variable(3.0)


def traced(step):
    tapes = Tapes()
    with listen(lambda: tapes):
        graph = tf.function(step).get_concrete_function().graph
    return tapes, graph


def test_a_question_and_what_was_recorded():
    def step():
        with tf.GradientTape() as tape:
            loss = variable**2
            with tape.stop_recording():
                loss + 1.0
            loss = loss * 3.0
        return tape.gradient(loss, {"a": [variable]})

    tapes, graph = traced(step)
    (asked,) = tapes.asked
    assert asked.graph is graph
    assert [tensor.op.type for tensor in asked.targets] == ["Mul"]
    assert len(asked.sources) == 1
    (first, second) = asked.spans
    names = [operation.type for operation in graph.get_operations()]
    assert "Pow" in names[slice(*first)]
    assert "Mul" in names[slice(*second)]
    assert names.index("AddV2") not in [*range(*first), *range(*second)]


def test_what_was_recorded_is_not_known_across_graphs():
    def step():
        with tf.GradientTape() as tape:
            loss = variable**2
        return tf.cond(loss > 0, lambda: tape.gradient(loss, variable), lambda: loss)

    tapes, graph = traced(step)
    (asked,) = tapes.asked
    assert asked.graph is not graph
    assert asked.spans is None


def test_about_finds_the_last_question_that_fits():
    def step():
        with tf.GradientTape(persistent=True) as tape:
            one, two = variable**2, other**2
        tape.gradient(one, variable)
        tape.gradient(two, [other])
        tape.gradient(one + two, variable)

    tapes, graph = traced(step)
    assert tapes.about([other], graph) is tapes.asked[1]
    assert tapes.about([variable], graph) is tapes.asked[2]
    assert tapes.about([tf.Variable(1.0)], graph) is tapes.asked[2]
    assert tapes.about([variable], tf.Graph()) is None


def test_eager_tapes_and_other_threads_are_left_alone():
    tapes = Tapes()
    me = threading.get_ident()

    def elsewhere():
        def step():
            with tf.GradientTape() as tape:
                loss = variable**2
            return tape.gradient(loss, variable)

        tf.function(step).get_concrete_function()

    with listen(lambda: tapes if threading.get_ident() == me else None):
        with tf.GradientTape() as tape:
            loss = variable**2
        assert float(tape.gradient(loss, variable)) == 4.0
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert tapes.asked == []


def test_everything_is_put_back():
    def methods():
        return [getattr(tf.GradientTape, name) for name in LISTENED_TO]

    def fail():
        with listen(lambda: None):
            assert methods() != own
            raise KeyError

    own = methods()
    with pytest.raises(KeyError):
        fail()
    assert methods() == own
