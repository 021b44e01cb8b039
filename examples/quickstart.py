"""Watch a training with `fit`: one callback, and afterwards a diagnosis, tables, pictures and a report.

Start it with `python examples/quickstart.py`; it writes `runs/quickstart/`.
"""

from __future__ import annotations

import os
import pathlib

import digits
import keras

import gradwatch

RUN_DIR = pathlib.Path("runs/quickstart")


def build_model() -> keras.Model:
    """A small classifier of the digits."""
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(64, activation="relu", name="hidden_1"),
            keras.layers.Dense(32, activation="relu", name="hidden_2"),
            keras.layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(run_dir: str | os.PathLike[str] | None = None, *, epochs: int = 5) -> gradwatch.GradientWatch:
    """Trains the classifier, watched.

    Args:
        run_dir: Where to keep the log; `None` keeps it in memory.
        epochs: How often to go through the data.

    Returns:
        The watch.
    """
    keras.utils.set_random_seed(0)
    images, labels = digits.load()
    # "full" also takes the norms of weights and updates: two more numbers a variable, and the report can show them.
    watch = gradwatch.GradientWatch(run_dir, statistics="full")
    build_model().fit(images, labels, epochs=epochs, verbose=0, callbacks=[watch])
    return watch


def main() -> None:
    """Trains, prints the diagnosis and the last rows of the log, and writes the report."""
    watch = train(RUN_DIR)
    print(watch.diagnosis)
    print()
    print(watch.log.layers().tail(3).to_string(index=False))
    watch.report().save(RUN_DIR / "report.html")
    print(f"\nOpen {RUN_DIR / 'report.html'} in a browser for the pictures.")


if __name__ == "__main__":
    main()
