import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwatch.tracing import forward

layers = keras.layers


def traced(model, x):
    """The uses of the model's variables, and the prediction, in a traced call."""
    found = {}

    @tf.function(autograph=False)
    def step(x):
        found["prediction"] = prediction = model(x, training=True)
        graph = tf.compat.v1.get_default_graph()
        found["uses"] = forward.uses_of(graph, [variable.value for variable in model.trainable_variables])
        return prediction

    step.get_concrete_function(tf.constant(x))
    return found["uses"], found["prediction"]


def dense(*activations, **options):
    return keras.Sequential([keras.Input((4,)), *(layers.Dense(3, a, **options) for a in activations)])


X = np.ones((2, 4), "float32")


def test_what_a_kernel_is_multiplied_with_and_what_comes_after():
    uses, _ = traced(dense("tanh", "relu", "sigmoid", None), X)
    kernels = uses[::2]
    assert [use.activation_name for use in kernels] == ["tanh", "relu", "sigmoid", ""]
    assert [None if use.activation is None else use.activation.op.type for use in kernels] == [
        "Tanh",
        None,
        "Sigmoid",
        None,
    ]
    assert [use.given.shape.as_list() for use in kernels] == [[2, 4], [2, 3], [2, 3], [2, 3]]
    assert kernels[1].given is kernels[0].activation
    assert uses[1::2] == [None] * 4


@pytest.mark.parametrize("activation", ["silu", "gelu", "mish"])
def test_a_gate_is_not_flat(activation):
    uses, _ = traced(dense(activation), X)
    assert uses[0].activation is None


def test_convolutions_normalization_and_half_precision():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(2, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(3, "tanh", dtype="mixed_float16"),
        ]
    )
    uses, _ = traced(model, np.ones((2, 6, 6, 1), "float32"))
    by_path = dict(zip([v.path.rpartition("/")[2] + str(len(v.shape)) for v in model.trainable_variables], uses))
    assert by_path["kernel4"].activation_name == "relu"
    assert by_path["kernel4"].given.shape.as_list() == [2, 6, 6, 1]
    assert by_path["kernel2"].activation.op.type == "Tanh"
    assert by_path["gamma1"] is None


def test_rows_of_an_embedding_are_no_product():
    model = keras.Sequential(
        [keras.Input((5,), dtype="int32"), layers.Embedding(9, 3), layers.LSTM(4), layers.Dense(2)]
    )
    uses, _ = traced(model, np.ones((2, 5), "int32"))
    assert uses[0] is None
    assert uses[-2].given.shape.as_list() == [2, 4]


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "tanh", "relu", "softplus", "exponential", "elu", "linear"])
def test_how_a_model_ends(name):
    uses, prediction = traced(dense("relu", name), X)
    assert forward.end_of(prediction, uses) == forward.End(name, 2)


def test_an_end_behind_a_reshape_is_found():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(6, "tanh"), layers.Reshape((3, 2))])
    uses, prediction = traced(model, X)
    assert forward.end_of(prediction, uses) == forward.End("tanh", 0)


def test_a_model_without_a_kernel():
    model = keras.Sequential([keras.Input((4,)), layers.Activation("softmax")])
    uses, prediction = traced(model, X)
    assert (uses, forward.end_of(prediction, uses)) == ([], forward.End("softmax", None))


def test_an_end_of_ones_own_is_not_known():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, "softmax"), layers.Rescaling(2.0, 1.0)])
    uses, prediction = traced(model, X)
    assert forward.end_of(prediction, uses) == forward.End("", 0)
    shifted = keras.Sequential([keras.Input((4,)), layers.Dense(3, use_bias=False)])
    uses, prediction = traced(shifted, X)
    assert forward.end_of(prediction, uses).activation == "linear"
