"""Data that programs share: small, drawn from a generator or out of scikit-learn."""

from __future__ import annotations

import numpy as np
import sklearn.datasets

Arrays = tuple[np.ndarray, np.ndarray]


def digits(num_rows: int = 1797, scale: float = 1 / 16) -> Arrays:
    """The first 8 by 8 digits, flat, whose pixels of 0 to 16 are multiplied by `scale`, and their classes."""
    x, y = sklearn.datasets.load_digits(return_X_y=True)
    return (x[:num_rows] * scale).astype("float32"), y[:num_rows].astype("int32")


def one_hot(classes: np.ndarray, num_classes: int) -> np.ndarray:
    """One row per class."""
    return np.eye(num_classes, dtype="float32")[classes]


def standardized(values: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and standard deviation 1."""
    return ((values - values.mean(axis=0)) / values.std(axis=0)).astype("float32")


def iris(rng: np.random.Generator, *, is_scaled: bool) -> Arrays:
    """Half of the irises, drawn by chance, with one-hot classes."""
    x, y = sklearn.datasets.load_iris(return_X_y=True)
    chosen = rng.permutation(len(x))[: len(x) // 2]
    x = standardized(x) if is_scaled else x.astype("float32")
    return x[chosen], one_hot(y[chosen], 3)


def blobs(rng: np.random.Generator, num_rows: int = 700, spread: float = 2.0) -> Arrays:
    """Three Gaussians in the plane, with one-hot classes."""
    centers = np.array([[-1.3, -9.5], [1.0, -1.3], [-1.6, -3.4]])
    classes = rng.integers(3, size=num_rows)
    x = centers[classes] + rng.normal(0, spread, (num_rows, 2))
    return x.astype("float32"), one_hot(classes, 3)


def circles(rng: np.random.Generator, num_rows: int = 700, factor: float = 0.5, noise: float = 0.1) -> Arrays:
    """A circle inside of another one, and which of both a point is of."""
    is_inner = np.arange(num_rows) % 2
    angle = rng.uniform(0, 2 * np.pi, num_rows)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.where(is_inner, factor, 1.0)[:, None]
    return (x + rng.normal(0, noise, x.shape)).astype("float32"), is_inner[:, None].astype("float32")


def cars(rng: np.random.Generator, num_rows: int = 320) -> Arrays:
    """Made up cars with the ranges of the Auto MPG data: nine features in their units, target in miles per gallon."""
    cylinders = rng.choice([4, 6, 8], num_rows, p=[0.5, 0.22, 0.28])
    size = (cylinders - 4) / 4 + rng.normal(0, 0.15, num_rows)
    displacement = np.clip(115 + 230 * size + rng.normal(0, 20, num_rows), 68, 455)
    horsepower = np.clip(78 + 80 * size + rng.normal(0, 12, num_rows), 46, 230)
    weight = np.clip(2300 + 1800 * size + rng.normal(0, 250, num_rows), 1600, 5100)
    acceleration = np.clip(16.5 - 3.5 * size + rng.normal(0, 2, num_rows), 8, 25)
    year = rng.integers(70, 83, num_rows)
    origin = one_hot(rng.choice(3, num_rows, p=[0.62, 0.18, 0.2]), 3)
    mpg = np.clip(46 - 0.0076 * weight + 0.75 * (year - 76) + rng.normal(0, 2.5, num_rows), 9, 46.6)
    x = np.stack([cylinders, displacement, horsepower, weight, acceleration, year], axis=1)
    return np.concatenate([x, origin], axis=1).astype("float32"), mpg[:, None].astype("float32")
