"""Combinations that cannot work: refused before the first step, with a message that says what to do."""

import types

import keras
import tensorflow as tf

import gradwatch
from matrix.row import Refused, mlp


def _not_compiled(run):
    gradwatch.GradientWatch().set_model(mlp())


def _other_model(run):
    gradwatch.GradientWatch().set_model(types.SimpleNamespace(name="model"))


def _no_optimizer(run):
    gradwatch.watch_train_step(lambda: None, model=mlp())


def _other_optimizer(run):
    gradwatch.watch_train_step(lambda: None, optimizers=[object()])


def _other_model_of_a_step(run):
    gradwatch.watch_train_step(lambda: None, model=tf.Module(), optimizers=keras.optimizers.SGD())


REFUSED = (
    Refused(
        name="model that is not compiled",
        about="`fit` has no optimizer to watch",
        program=_not_compiled,
        error=ValueError,
        match="not compiled",
        note="`compile` it, or use `watch_train_step`",
    ),
    Refused(
        name="model that is not of Keras 3",
        about="Keras 2 (`tf_keras`), or something else",
        program=_other_model,
        error=TypeError,
        match="Keras 3 models",
        note="build it with `import keras`, version 3",
    ),
    Refused(
        name="step without an optimizer",
        about="`watch_train_step` finds none on the model",
        program=_no_optimizer,
        error=ValueError,
        match="no Keras optimizer",
        note="name them: `optimizers=[optimizer]`",
    ),
    Refused(
        name="optimizer that is not of Keras 3",
        about="`watch_train_step(optimizers=[...])`",
        program=_other_optimizer,
        error=TypeError,
        match="Keras 3 optimizers",
        note="use `keras.optimizers`",
    ),
    Refused(
        name="step of a model that is not of Keras 3",
        about="`watch_train_step(model=tf.Module())`",
        program=_other_model_of_a_step,
        error=TypeError,
        match="Keras 3 model",
        note="leave `model` out and name the optimizers",
    ),
)
