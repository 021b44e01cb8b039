"""Combinations that cannot work: refused before the first step, with a message that says what to do."""

import types

import keras
import tensorflow as tf
from distribution.rows import MIRRORED

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


def _on_two_replicas(**compile_args):
    def program(run):
        (worker,) = MIRRORED.results_of({"run": {"options": {}, **compile_args}})
        raise NotImplementedError(worker["run"]["refused"])

    return program


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
    Refused(
        name="XLA on several replicas",
        about="`compile(jit_compile=True)` under a strategy with several replicas; Keras fails with it",
        program=_on_two_replicas(jit_compile=True),
        error=NotImplementedError,
        match="cannot compile a step with XLA",
        note="`jit_compile=False`",
    ),
    Refused(
        name="several steps per execution on CPU replicas",
        about="`compile(steps_per_execution=2)` on several logical CPUs; Keras fails with it",
        program=_on_two_replicas(steps_per_execution=2),
        error=NotImplementedError,
        match="several steps per execution",
        note="`steps_per_execution=1`",
    ),
)
