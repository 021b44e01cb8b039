"""Symptoms that programs share, seen from the history and the weights of a run alone."""

from __future__ import annotations

import numpy as np

from benchmarks.faults.program import Run


def is_nonfinite(run: Run) -> bool:
    """A loss or a weight is NaN or Inf in the end."""
    return not (np.isfinite(run.losses).all() and all(np.isfinite(w).all() for w in run.weights))


def moved(run: Run) -> list[float]:
    """For each weight the norm of its change over the run against its norm at first."""
    return [
        float(np.linalg.norm(now - before) / (np.linalg.norm(before) or 1.0))
        for before, now in zip(run.first_weights, run.weights, strict=True)
    ]


def gain(run: Run, num_epochs: int = 1) -> float:
    """Share by which the loss fell from the first to the last epochs; NaN where one is not finite."""
    if not np.isfinite(run.losses).all() or not run.losses:
        return float("nan")
    first, last = np.mean(run.losses[:num_epochs]), np.mean(run.losses[-num_epochs:])
    return float((first - last) / abs(first)) if first else 0.0
