import numpy as np
import pytest
import tensorflow as tf

from gradwatch.recording.buffer import Counters, RowBuffer, fetch


def test_counters_add_and_put():
    counters = Counters(3)
    counters.add({0: 2, 2: tf.constant(True)})
    counters.put({1: 7})
    assert counters.variable.numpy().tolist() == [2, 7, 1]
    assert int(counters[1]) == 7


def drained(buffer):
    return buffer.unpack(fetch([buffer])[0])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_rows_come_out_once_and_in_order(jit_compile):
    buffer = RowBuffer(width=2, capacity=4)

    @tf.function(jit_compile=jit_compile)
    def append(number):
        buffer.append(tf.stack([number, -number]))

    for count in (3, 4, 0, 2):
        for number in range(count):
            append(tf.constant(float(number), tf.float64))
        rows, lost = drained(buffer)
        assert rows[:, 0].tolist() == list(map(float, range(count)))
        assert rows[:, 1].tolist() == [-float(number) for number in range(count)]
        assert lost == 0


def test_rows_lost_are_counted():
    buffer = RowBuffer(width=1, capacity=4)
    for number in range(11):
        buffer.append(tf.constant([number], tf.float64))
    rows, lost = drained(buffer)
    assert rows.ravel().tolist() == [7, 8, 9, 10]
    assert lost == 7


def test_row_that_is_not_wanted_is_overwritten():
    buffer = RowBuffer(width=1, capacity=4)
    for number, wanted in enumerate([True, False, False, True]):
        buffer.append(tf.constant([number], tf.float64), only_if=tf.constant(wanted))
    assert drained(buffer)[0].ravel().tolist() == [0, 3]


def test_several_buffers_in_one_copy():
    one, two = RowBuffer(width=1), RowBuffer(width=3, capacity=5)
    two.append(tf.constant([1, 2, np.nan], tf.float64))
    first, second = fetch([one, two])
    assert one.unpack(first)[0].shape == (0, 1)
    np.testing.assert_array_equal(two.unpack(second)[0], [[1, 2, np.nan]])
    assert fetch([]) == []
