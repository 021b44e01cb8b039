"""Rows: what an optimizer does with a gradient after it was given it."""

import keras

from matrix.row import Row, mlp


def _row(name, about, program, **kwargs):
    return Row(area="optimizer", name=name, about=about, program=program, **kwargs)


def _with(kind, *args, compile_args=None, **kwargs):
    def program(run):
        optimizer = run.optimizer(getattr(keras.optimizers, kind), *args, **kwargs)
        return run.fit(run.compiled(mlp(), optimizer, **(compile_args or {})))

    return program


def _decaying(run):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    return run.fit(run.compiled(mlp(), run.optimizer(keras.optimizers.Adam, schedule)))


BUILT_IN = (
    *("SGD", "RMSprop", "Adam", "AdamW", "Adadelta", "Adagrad", "Adamax", "Adafactor", "Nadam", "Ftrl", "Lion"),
    *("Lamb", "Muon", "ScheduleFreeAdamW"),
)

ROWS = (
    _row("clipnorm", "`clipnorm`; what is recorded is from before it", _with("Adam", 0.01, clipnorm=0.01)),
    _row("clipvalue", "`clipvalue`", _with("Adam", 0.01, clipvalue=0.001)),
    _row("global_clipnorm", "`global_clipnorm`", _with("Adam", 0.01, global_clipnorm=0.01)),
    _row(
        "global_clipnorm, jit_compile",
        "`global_clipnorm` under XLA",
        _with("Adam", 0.01, global_clipnorm=0.01, compile_args={"jit_compile": True}),
    ),
    _row("weight decay", "`weight_decay`", _with("SGD", 0.1, weight_decay=0.01)),
    _row(
        "EMA",
        "`use_ema`, overwriting the weights each 2 steps",
        _with("SGD", 0.1, use_ema=True, ema_overwrite_frequency=2),
    ),
    _row(
        "gradient accumulation",
        "`gradient_accumulation_steps=2`: a row for each call, `applied` true",
        _with("Adam", 0.01, gradient_accumulation_steps=2),
    ),
    _row("learning-rate schedule", "`ExponentialDecay`", _decaying),
    _row(
        "loss_scale_factor",
        "`loss_scale_factor`; what is recorded is divided by it",
        _with("SGD", 0.1, loss_scale_factor=1024.0),
    ),
    *(_row(name, f"`keras.optimizers.{name}`", _with(name, 0.01), needs=name) for name in BUILT_IN),
)
