"""An ordinary training script: nothing in it knows of gradwatch.

    gradwatch run --fail-fast --run-dir runs/today train.py --epochs 5

With `--checkpoints DIR` it goes on after an interruption where it was. `--broken` spoils one image, as a dead sensor
would leave it; `gradwatch run --fail-fast` then ends with status 3.
"""

from __future__ import annotations

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before Keras is imported; `gradwatch run` does not do it earlier

import keras
import numpy as np
import sklearn.datasets

BROKEN_IMAGE = 1000


def main() -> int:
    """Trains a classifier of handwritten digits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--checkpoints", metavar="DIR")
    parser.add_argument("--broken", action="store_true", help="spoil one image")
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    pixels, digits = sklearn.datasets.load_digits(return_X_y=True)
    images = (pixels / 16).astype("float32")  # [1797, 64]
    if options.broken:
        images[BROKEN_IMAGE] = np.nan
    model = keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(10, activation="softmax")],
        name="digits",
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    callbacks = [keras.callbacks.BackupAndRestore(options.checkpoints)] if options.checkpoints else []
    history = model.fit(images, digits, epochs=options.epochs, shuffle=False, verbose=2, callbacks=callbacks)
    print(f"accuracy {history.history['accuracy'][-1]:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
