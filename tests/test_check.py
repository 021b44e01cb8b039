import keras
import numpy as np
import pytest
import tensorflow as tf
from programs import PROGRAMS, features, identical, labels, mlp
from tracing import cut_programs, look_alikes

import gradwatch
from gradwatch import assert_gradients_flow, check_gradients

layers = keras.layers


def everything(model):
    """All that a step could change: weights, metrics, random state, optimizer."""
    holders = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [np.array(variable.numpy()) for variable in holders]


def compiled(program, **kwargs):
    model, x = program()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **kwargs)
    return model, x


@pytest.mark.parametrize("mode", [{}, {"run_eagerly": True}, {"jit_compile": True}], ids=["graph", "eager", "xla"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_healthy_models_are_healthy_and_unchanged(program, mode):
    model, x = compiled(PROGRAMS[program], **mode)
    before = everything(model)
    diagnosis = check_gradients(model, x, labels())
    assert diagnosis.findings == ()
    assert "DetachedVariable" in diagnosis.passed
    assert not model.optimizer.built
    after = everything(model)
    assert identical(before, after[: len(before)])
    assert not any(np.any(array) for array in after[len(before) :])  # metrics that were made are empty
    assert_gradients_flow(model, x, labels())


@pytest.mark.parametrize("mode", [{}, {"run_eagerly": True}], ids=["graph", "eager"])
def test_training_after_a_check_is_training_without_one(mode):
    results = []
    for checks in (False, True):
        model, x = compiled(mlp, **mode)
        model.fit(x, labels(), batch_size=16, verbose=0)
        if checks:
            before = everything(model)
            check_gradients(model, x, labels())
            assert identical(before, everything(model))
            assert "train_step" not in vars(model)
        model.fit(x, labels(), batch_size=16, verbose=0)
        results.append(everything(model))
    assert identical(*results)


def test_a_failure_in_the_step_leaves_everything_as_it_was():
    class Failing(keras.Sequential):
        def train_step(self, data):
            super().train_step(data)
            tf.debugging.assert_equal(tf.reduce_sum(data[0]), 1e9, message="of the user")
            return {}

    model = Failing([keras.Input((8,)), layers.BatchNormalization(), layers.Dense(4)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = everything(model)
    with pytest.raises(tf.errors.InvalidArgumentError, match="of the user"):
        check_gradients(model, features(8), labels())
    assert identical(before, everything(model)[: len(before)])


@pytest.mark.parametrize("mode", [{}, {"run_eagerly": True}], ids=["graph", "eager"])
def test_a_cut_is_named(mode):
    model = cut_programs.Between(cut_programs.argmax, **mode)
    (finding,) = check_gradients(model, cut_programs.X, cut_programs.Y).findings
    assert finding.cause.op_type == "ArgMax"
    with pytest.raises(AssertionError) as raised:
        assert_gradients_flow(model, cut_programs.X, cut_programs.Y)
    text = str(raised.value)
    assert text.startswith("The gradients of the model 'between' do not flow:\n  GW401 DetachedVariable: No gradient")
    assert f"    at {finding.cause}\n" in text
    assert f"What to do: {finding.remedy}" in text
    assert_gradients_flow(model, cut_programs.X, cut_programs.Y, allow="before/*")
    assert_gradients_flow(model, cut_programs.X, cut_programs.Y, allow=("before/kernel", "before/bias"))


def test_no_gradient_at_all():
    model = cut_programs.Own()
    model.compile("sgd", cut_programs.loss_cast)
    (finding,) = check_gradients(model, cut_programs.X, cut_programs.Y).findings
    assert (finding.severity, finding.cause.op_type) == ("error", "Greater")


@pytest.mark.parametrize("program", [cut_programs.LossOfHidden, cut_programs.OutsideOfTheTape])
def test_steps_of_ones_own(program):
    with pytest.raises(AssertionError, match=r"cut_programs\.py:"):
        assert_gradients_flow(program(), cut_programs.X, cut_programs.Y)


@pytest.mark.parametrize("name", look_alikes.PROGRAMS)
def test_look_alikes(name):
    assert_gradients_flow(look_alikes.PROGRAMS[name](), look_alikes.X, look_alikes.Y)


def test_nan_in_a_gradient_is_a_failure():
    inputs = keras.Input((6,))
    x = layers.Lambda(lambda x: tf.sqrt(x - x))(layers.Dense(5)(inputs))
    model = keras.Model(inputs, layers.Dense(3)(x))
    model.compile("sgd", "mse")
    with pytest.raises(AssertionError, match="NonFiniteGradient"):
        assert_gradients_flow(model, cut_programs.X, cut_programs.Y)


def test_nothing_to_train():
    model, x = mlp()
    model.trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    assert [finding.rule for finding in check_gradients(model, x, labels()).findings] == ["NoTrainableVariables"]


def test_data_as_fit_takes_it():
    model, x = compiled(mlp)
    weight = np.ones(len(x))
    assert check_gradients(model, x.astype("float64"), labels(), sample_weight=weight).ok
    assert check_gradients(model, tf.data.Dataset.from_tensor_slices((x, labels())).batch(4)).ok
    assert check_gradients(model, x[:1], labels()[:1]).ok


def test_an_unbuilt_model_is_built():
    model = keras.Sequential([layers.Dense(5, activation="relu"), layers.Dense(4)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert check_gradients(model, features(8), labels()).findings == ()
    assert model.built


def test_bad_input():
    model, x = mlp()
    with pytest.raises(ValueError, match="not compiled"):
        check_gradients(model, x, labels())
    with pytest.raises(TypeError, match="Keras 3"):
        check_gradients("model", x, labels())


def test_mixed_precision_before_the_first_step():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model, x = compiled(mlp)
    finally:
        keras.config.set_dtype_policy("float32")
    assert check_gradients(model, x, labels()).findings == ()


def test_two_optimizers():
    class Two(cut_programs.Own):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x) - y) ** 2)
            grads = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(grads[:2], self.trainable_variables[:2])
            self.other.apply(grads[2:], self.trainable_variables[2:])
            return {"loss": loss}

    model = Two()
    model.other = keras.optimizers.Adam()
    assert check_gradients(model, cut_programs.X, cut_programs.Y).findings == ()
    assert gradwatch.check_gradients is check_gradients
