import pytest
import tensorflow as tf
from tracing import look_alikes

import gradwatch


@pytest.mark.parametrize("mode", [{}, {"run_eagerly": True}], ids=["graph", "eager"])
@pytest.mark.parametrize("name", look_alikes.PROGRAMS)
def test_healthy_programs_get_no_finding(name, mode, recwarn):
    model = look_alikes.PROGRAMS[name]()
    model.compile("sgd", "mse", **mode)
    watch = gradwatch.GradientWatch()
    model.fit(look_alikes.X, look_alikes.Y, epochs=3, verbose=0, callbacks=[watch])
    assert watch.diagnosis.findings == ()
    assert not [warning for warning in recwarn if issubclass(warning.category, gradwatch.GradientWarning)]


def test_listening_to_a_tape_changes_no_gradient():
    """AutoGraph and functions with a gradient of their own see the same tape as without a watch."""

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = look_alikes.own_gradient(x) * 2.0
            if tf.reduce_sum(y) > 0:
                y = y * 3.0
        return tape.gradient(y, x)

    x = tf.constant([1.2, 3.4])
    plain = step(x)
    watched = gradwatch.watch_train_step(step, optimizers=look_alikes.keras.optimizers.SGD())
    with pytest.warns(gradwatch.GradientWarning, match="without calling"):
        assert (watched(x).numpy() == plain.numpy()).all()
