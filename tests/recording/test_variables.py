import keras
import pytest
import tensorflow as tf

from gradwatch.causes import Cause
from gradwatch.recording.variables import VariableTable, describe, find_optimizers


def test_describe_a_keras_variable():
    dense = keras.layers.Dense(3, name="head")
    dense.build((None, 2))
    info = describe(dense.kernel)
    assert (info.path, info.layer, info.shape, info.dtype, info.size) == ("head/kernel", "head", (2, 3), "float32", 6)


@pytest.mark.parametrize("name", ["w", "a/b", "odd name/äöü"])
def test_describe_a_tf_variable(name):
    info = describe(tf.Variable(tf.zeros([], tf.float64), name=name))
    assert info.path == name
    assert info.layer == (name.rpartition("/")[0] or name)
    assert (info.shape, info.dtype, info.size) == ((), "float64", 1)


def test_equal_paths_are_told_apart():
    first, second, third = (keras.Variable([1.0], name="w") for _ in range(3))
    table = VariableTable()
    assert table.add([first, second]) == (0, 1)
    assert table.add([second, third]) == (1, 2)
    assert [info.path for info in table.ordered()[0]] == ["w", "w#2", "w#3"]


def test_a_keras_variable_and_what_it_wraps_are_one():
    variable = keras.Variable([1.0], name="w")
    table = VariableTable()
    assert table.add([variable]) == table.add([variable.value])
    assert len(table) == 1


def test_cuts():
    variables = [keras.Variable([1.0], name=name) for name in "ab"]
    table = VariableTable()
    table.set_cuts(variables[:1], [(Cause("stopped"),)])
    assert len(table) == 0
    table.add(variables)
    assert [info.cuts for info in table.ordered()[0]] == [(Cause("stopped"),), ()]


def test_order_of_the_model_wins_over_the_order_of_arrival():
    first, second, stranger = (keras.Variable([1.0], name=name) for name in "abc")
    table = VariableTable()
    table.add([stranger, second, first])
    table.set_order([first, second])
    infos, places = table.ordered()
    assert [info.path for info in infos] == ["a", "b", "c"]
    assert places == {0: 2, 1: 1, 2: 0}


class Gan(keras.Model):
    def __init__(self):
        super().__init__()
        self.d_optimizer, self.g_optimizer = keras.optimizers.SGD(), keras.optimizers.Adam()
        self.again = self.d_optimizer
        self.more = [keras.optimizers.SGD(), keras.layers.Dense(1)]
        self.named = {"x": keras.optimizers.SGD()}


def test_find_optimizers():
    model = Gan()
    found = find_optimizers(model)
    assert list(found) == ["d_optimizer", "g_optimizer", "more/0", "named/x"]
    assert found["d_optimizer"] is model.d_optimizer
    model.compile("sgd")
    assert next(iter(find_optimizers(model))) == "optimizer"
    assert find_optimizers(keras.Sequential()) == {}
