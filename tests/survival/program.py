"""Trains into a run directory and writes down what it does, step by step; made to be killed and started again.

Usage: program.py FOLDER [fit|loop] [NUM_STEPS]
"""

import os
import pathlib
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

import gradwatch

folder = pathlib.Path(sys.argv[1])
how = sys.argv[2]
num_steps = int(sys.argv[3])

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, name="hidden"), keras.layers.Dense(1, name="head")])
optimizer = keras.optimizers.SGD(1e-3)
model.compile(optimizer, "mse")
optimizer.build(model.trainable_variables)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(4000, 6)).astype("float32"), rng.normal(size=(4000, 1)).astype("float32")
diary = os.open(folder / "diary.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(*values):
    os.write(diary, (" ".join(map(repr, values)) + "\n").encode())  # in the hands of the system: SIGKILL loses nothing


class Diary(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        note(int(optimizer.iterations.numpy()), time.time())


def fit():
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    watch = gradwatch.GradientWatch(folder / "run")
    model.fit(x[:320], y[:320], batch_size=16, epochs=num_steps // 20, verbose=0, callbacks=[backup, watch, Diary()])


def loop():
    weights = folder / "weights.npz"
    if weights.exists():
        with np.load(weights) as saved:
            for variable, name in zip((*model.variables, *optimizer.variables), saved.files):
                variable.assign(saved[name])

    @tf.function
    def train_step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
        grads = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(grads, model.trainable_variables)
        return loss, tf.linalg.global_norm(grads)

    with gradwatch.watch_train_step(train_step, model=model, run_dir=folder / "run") as step:
        while (number := int(optimizer.iterations.numpy())) < num_steps:
            rows = slice(number * 16 % 3900, number * 16 % 3900 + 16)
            loss, norm = step(tf.constant(x[rows]), tf.constant(y[rows]))
            note(float(loss), float(norm), time.time())
            if number % 20 == 19:
                with (folder / ".weights.tmp").open("wb") as file:
                    np.savez(file, *[np.asarray(v) for v in (*model.variables, *optimizer.variables)])
                (folder / ".weights.tmp").replace(weights)


{"fit": fit, "loop": loop}[how]()
