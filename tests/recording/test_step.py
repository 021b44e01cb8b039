import numpy as np
import pytest
import tensorflow as tf

from gradwatch.recording.step import loss_in, tensors_in


def test_tensors_and_float_arrays_of_a_batch():
    found = tensors_in((({"x": tf.ones([2])}, np.zeros(3, np.float32), np.arange(2), "text"), {"training": True}))
    assert [tensor.shape.as_list() for tensor in found] == [[2], [3]]


@pytest.mark.parametrize(
    ("result", "loss"),
    [
        (tf.constant(2.0), 2.0),
        ({"accuracy": tf.constant(1.0), "loss": tf.constant(3.0)}, 3.0),
        ((tf.constant(4.0), "else"), 4.0),
        (5.0, 5.0),
        (np.float32(6.0), 6.0),
        ({"accuracy": tf.constant(1.0)}, None),
        (tf.constant([1.0]), None),
        (tf.constant(1), None),
        ((), None),
        (None, None),
    ],
)
def test_loss_of_a_step(result, loss):
    found = loss_in(result)
    assert (found is None) if loss is None else float(found) == loss
