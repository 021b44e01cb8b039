"""What a program of the benchmark is, and the run in which it trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

HEALTHY = "healthy"
FAULTY = "faulty"


class Run:
    """One training of a program, with one seed; what is left of it is what its symptom is judged by.

    Args:
        seed: The seed of weights, data and order.
        callbacks: Callbacks that every `fit` of the program gets: the watch, and whoever else looks on.
    """

    def __init__(self, seed: int, callbacks: Sequence[Any] = ()) -> None:
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.callbacks = list(callbacks)
        self.model: Any = None
        self.first_weights: list[np.ndarray] = []
        self.history: dict[str, list[float]] = {}
        self.error: Exception | None = None

    def fit(self, model: Any, *data: Any, **options: Any) -> None:
        """Trains the model as `model.fit(*data, **options)` does, with the callbacks; an error of it is kept.

        Histories of several calls are put one after another. The model has to be built. Callbacks with a method
        `saw_data` are shown the model and its data first.
        """
        self.model = model
        shown = (*data, *(options[name] for name in ("x", "y") if name in options))
        for callback in self.callbacks:
            if hasattr(callback, "saw_data"):
                callback.saw_data(model, shown)
        self.first_weights = self.first_weights or model.get_weights()
        options = {"verbose": 0, **options, "callbacks": [*self.callbacks, *options.get("callbacks", ())]}
        try:
            history = model.fit(*data, **options).history
        except (ValueError, RuntimeError) as error:
            self.error = error
            return
        for name, values in history.items():
            self.history.setdefault(name, []).extend(map(float, values))

    @property
    def losses(self) -> list[float]:
        """The loss of each epoch."""
        return self.history.get("loss", [])

    @property
    def weights(self) -> list[np.ndarray]:
        """The weights as they are now."""
        return self.model.get_weights()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A program with the findings that it deserves.

    Args:
        name: Its name.
        kind: "faulty" or "healthy".
        about: What it trains, and what is wrong with it, in a sentence or two.
        train: Trains it.
        symptom: Whether what is said of it was really there, seen from the model and its history alone: for a faulty
            one that it trains badly in the way that `about` says, for a healthy one that it learns.
        expect: Names of the rules that are right to report it. Of a faulty program the first one has to, the others may
            beside it; of a healthy one all of them may.
        layers: Glob patterns of the layers one of which a right finding should name; none where there is no such layer.
        source: Where it was published; empty for one of our own.
        held_back: Whether no rule was tuned with it in sight.
    """

    name: str
    kind: str
    about: str
    train: Callable[[Run], None]
    symptom: Callable[[Run], bool]
    expect: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    source: str = ""
    held_back: bool = False

    def run(self, seed: int, callbacks: Sequence[Any] = ()) -> Run:
        """Trains it once, from the same start for the same seed."""
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        run = Run(seed, callbacks)
        self.train(run)
        return run
