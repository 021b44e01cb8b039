"""Rows: in which numbers a model computes."""

import keras

from matrix.row import LOSS_SCALED, Row, features, labels, mlp


def _row(name, about, program, **kwargs):
    return Row(area="precision", name=name, about=about, program=program, **kwargs)


def _fit(dtype, **compile_args):
    def program(run):
        return run.fit(run.compiled(mlp(dtype=dtype), **compile_args))

    return program


def _loss_scaled(initial_scale, **compile_args):
    def program(run):
        inner = keras.optimizers.SGD(0.1, momentum=0.9)
        optimizer = run.optimizer(LOSS_SCALED, inner, initial_scale=initial_scale)
        return run.fit(run.compiled(mlp(dtype="mixed_float16"), optimizer, **compile_args))

    return program


def _wrapped_by_compile(run):
    keras.config.set_dtype_policy("mixed_float16")
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    if run.spy:  # what `fit` calls is the wrapper, so the spy has to be that
        optimizer = run.optimizer(LOSS_SCALED, optimizer)
    model = run.compiled(mlp(), optimizer)
    run.optimizers = [model.optimizer]
    assert isinstance(model.optimizer, LOSS_SCALED)
    return model.fit(features(6), labels(), batch_size=8, epochs=2, verbose=0, callbacks=run.callbacks).history


ROWS = (
    _row("mixed_float16", "the policy; `compile` wraps the optimizer", _wrapped_by_compile, loss_scaled=True),
    _row(
        "mixed_float16, overflow",
        "`LossScaleOptimizer` with a scale that is too large at first",
        _loss_scaled(2.0**19),
        loss_scaled=True,
        overflows=2,
        note="overflow steps are rows with `applied=False` and no finding",
    ),
    _row(
        "mixed_float16, run_eagerly",
        "`LossScaleOptimizer`, eagerly",
        _loss_scaled(2.0**19, run_eagerly=True),
        loss_scaled=True,
        overflows=2,
    ),
    _row("mixed_bfloat16", "the policy", _fit("mixed_bfloat16")),
    _row("mixed_bfloat16, jit_compile", "the policy under XLA", _fit("mixed_bfloat16", jit_compile=True)),
    _row("float16", "weights and gradients in float16", _fit("float16")),
    _row("bfloat16", "weights and gradients in bfloat16", _fit("bfloat16")),
    _row("float64", "weights and gradients in float64", _fit("float64"), rtol=1e-12),
)
