"""Programs as small as can be: one that trains badly, one that trains well, and some that a run has to survive."""

import os

import keras
import numpy as np

from benchmarks.faults.program import FAULTY, HEALTHY, Program


def data(run, num_rows=48):
    x = run.rng.normal(size=(num_rows, 4)).astype("float32")
    return x, (x[:, :1] > 0).astype("float32")


def model(last="sigmoid", hidden="tanh"):
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, activation=hidden, name="hidden"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(1, activation=last, name="output"),
        ]
    )


def train_badly(run):
    net = model(last="softmax")
    net.compile(keras.optimizers.SGD(0.1), "mse", metrics=["accuracy"])
    run.fit(net, *data(run), batch_size=16, epochs=6)


def train_well(run):
    net = model()
    net.compile(keras.optimizers.Adam(0.05), "binary_crossentropy", metrics=["accuracy"])
    run.fit(net, *data(run), batch_size=16, epochs=6)


def raise_error(run):
    raise LookupError("there is no such data")


def die(run):
    os._exit(7)


BAD = Program(
    name="bad",
    kind=FAULTY,
    about="Softmax on one unit.",
    train=train_badly,
    symptom=lambda run: np.ptp(run.losses) == 0,
    expect=("ZeroGradient", "OutputActivation"),
    layers=("output", "hidden"),
    source="https://example.org/question",
)
GOOD = Program(
    name="good",
    kind=HEALTHY,
    about="Logistic regression with a hidden layer.",
    train=train_well,
    symptom=lambda run: run.losses[-1] < run.losses[0],
)
RAISES = Program(name="raises", kind=FAULTY, about="Raises.", train=raise_error, symptom=bool, expect=("ZeroGradient",))
DIES = Program(name="dies", kind=FAULTY, about="Dies.", train=die, symptom=bool, expect=("ZeroGradient",))
PROGRAMS = (BAD, RAISES, GOOD, DIES)
