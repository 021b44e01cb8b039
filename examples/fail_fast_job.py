"""A training job that nobody looks at: it stops at the first bad gradient, with good weights and an exit status.

One image in the data is broken, as a dead sensor would leave it. Without the watch the job would train to the end, cost
what it costs, and save a model full of NaN. Here the bad update never reaches the weights, and the log is on the disk.

Start it with `python examples/fail_fast_job.py; echo $?`. The status is 3 if the watch stopped the job, and 0 with
`--clean`, which leaves the data whole. `gradwatch diagnose runs/fail_fast_job` reads the log afterwards.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

import digits
import keras
import numpy as np

import gradwatch

BROKEN_IMAGE = 1000
STOPPED = 3


def build_model() -> keras.Model:
    """A small classifier of the digits."""
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation="relu", name="hidden"),
            keras.layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def train(run_dir: str | os.PathLike[str], *, model: keras.Model, clean: bool = False) -> gradwatch.GradientWatch:
    """Trains a model, and stops at the first finding of severity "error".

    Args:
        run_dir: Where to keep the log.
        model: What to train.
        clean: Whether to leave the data whole.

    Returns:
        The watch.

    Raises:
        GradientError: If the watch stopped the training.
    """
    images, labels = digits.load()
    if not clean:
        images[BROKEN_IMAGE] = np.nan
    watch = gradwatch.GradientWatch(run_dir, fail_fast=True)
    # Not shuffled, so that it is always the same step that is hit.
    model.fit(images, labels, epochs=3, shuffle=False, verbose=0, callbacks=[watch])
    return watch


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the job and returns its exit status."""
    parser = argparse.ArgumentParser(description="Train on the digits and stop at the first bad gradient.")
    parser.add_argument("--run-dir", type=pathlib.Path, default=pathlib.Path("runs/fail_fast_job"))
    parser.add_argument("--clean", action="store_true", help="leave the data whole")
    options = parser.parse_args(arguments)

    keras.utils.set_random_seed(0)
    model = build_model()
    status = 0
    try:
        train(options.run_dir, model=model, clean=options.clean)
    except gradwatch.GradientError as error:
        # Not caught, the error would end the job as well, with status 1 and a traceback.
        print(f"Stopped at step {error.step}: {error}", file=sys.stderr)
        status = STOPPED
    # Worth saving in both cases: the update that was bad never reached the weights.
    model.save(options.run_dir / "last_good.keras")
    print(f"The weights are in {options.run_dir / 'last_good.keras'}, the log is beside them.")
    return status


if __name__ == "__main__":
    sys.exit(main())
