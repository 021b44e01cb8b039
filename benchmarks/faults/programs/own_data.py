"""Data of our own programs: sets that come with scikit-learn, and small made ones."""

from __future__ import annotations

import numpy as np
from sklearn import datasets

CONTEXTS, ARMS = 6, 4
USERS, ITEMS = 150, 80
WINDOW = 24


def standardised(x: np.ndarray) -> np.ndarray:
    """Each column with mean 0 and standard deviation 1, float32; constant columns become 0."""
    deviation = x.std(axis=0)
    return ((x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)).astype("float32")


def digit_rows(count: int = 1280) -> tuple[np.ndarray, np.ndarray]:
    """Digits as rows of 64 pixels in [0, 1], and their classes."""
    x, y = datasets.load_digits(return_X_y=True)
    return (x[:count] / 16.0).astype("float32"), y[:count].astype("int32")


def digit_images(count: int = 1280) -> tuple[np.ndarray, np.ndarray]:
    """Digits as images of 8 x 8 x 1 pixels in [0, 1], and their classes."""
    x, y = digit_rows(count)
    return x.reshape(-1, 8, 8, 1), y


def tumours(raw: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The 569 tumours of breast_cancer with 30 features, and whether they are benign (63 percent)."""
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return (x.astype("float32") if raw else standardised(x)), y.astype("float32")[:, None]


def wines(raw: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The 178 wines with 13 features (raw up to 1680), and their three classes."""
    x, y = datasets.load_wine(return_X_y=True)
    return (x.astype("float32") if raw else standardised(x)), y.astype("int32")


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """The 442 patients of diabetes with 10 standardised features, and the progress of the disease, 25 to 346."""
    x, y = datasets.load_diabetes(return_X_y=True)
    return standardised(x), y.astype("float32")[:, None]


def compared_tokens(rng: np.random.Generator, count: int, length: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of tokens 0..15, and for each token whether it is larger than the first one of its sequence."""
    x = rng.integers(0, 16, (count, length)).astype("int32")
    return x, (x > x[:, :1]).astype("int32")


def characters() -> tuple[np.ndarray, np.ndarray, int]:
    """Windows over a real English text, the same windows one character later, and the number of characters."""
    text = datasets.load_wine().DESCR + datasets.load_iris().DESCR
    alphabet, codes = np.unique(list(text), return_inverse=True)
    starts = np.arange(0, len(codes) - WINDOW - 1, 5)
    windows = codes[starts[:, None] + np.arange(WINDOW + 1)].astype("int32")
    return windows[:, :-1], windows[:, 1:], len(alphabet)


def noisy_ratings(rng: np.random.Generator, count: int = 6400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, items and ratings around 0 that come from four hidden tastes; popular items are rated far more often."""
    tastes, traits = rng.normal(size=(USERS, 4)), rng.normal(size=(ITEMS, 4))
    users = rng.integers(0, USERS, count).astype("int32")
    items = np.minimum(rng.exponential(ITEMS / 4, count), ITEMS - 1).astype("int32")
    ratings = (tastes[users] * traits[items]).sum(axis=1) / 2.0 + 0.1 * rng.normal(size=count)
    return users[:, None], items[:, None], ratings.astype("float32")[:, None]


def payoffs(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """One-hot contexts of a bandit, and what each arm would pay: in each context another arm is better by 1."""
    contexts = rng.integers(0, CONTEXTS, count)
    means = np.eye(ARMS)[np.arange(CONTEXTS) % ARMS]
    paid = means[contexts] + rng.normal(scale=1.0, size=(count, ARMS))
    return np.eye(CONTEXTS, dtype="float32")[contexts], paid.astype("float32")


def points(rng: np.random.Generator, count: int) -> np.ndarray:
    """Correlated points in the plane around (2, -1)."""
    mixed = rng.normal(size=(count, 2)) @ np.array([[0.8, 0.3], [0.0, 0.5]])
    return (mixed + np.array([2.0, -1.0])).astype("float32")


def drifting_sequences(rng: np.random.Generator, count: int, length: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of noise with 3 features, and the sum of the first one, scaled to variance 1."""
    x = rng.normal(size=(count, length, 3)).astype("float32")
    return x, x[:, :, 0].sum(axis=1, keepdims=True) / np.sqrt(length)


def households(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Raw income, debt, savings (1e4 each) and age, and whether savings and half of the income exceed the debt."""
    income, debt = rng.normal(40_000, 9_000, count), rng.normal(32_000, 9_000, count)
    savings, age = rng.normal(12_000, 4_000, count), rng.integers(20, 80, count)
    solvent = savings + income / 2 > debt
    return np.stack([income, debt, savings, age], axis=1).astype("float32"), solvent.astype("float32")[:, None]


def prices(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Five standardised features of a house, and its price, about 3e5."""
    x = rng.normal(size=(count, 5)).astype("float32")
    y = 300_000.0 + 60_000.0 * x[:, 0] + 30_000.0 * x[:, 1] * x[:, 2] + 10_000.0 * rng.normal(size=count)
    return x, y.astype("float32")[:, None]


def token_bags(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Eight tokens 1..29 each (0 is kept for padding, which no row needs), and whether most of them are above 15."""
    x = rng.integers(1, 30, (count, 8)).astype("int32")
    return x, ((x > 15).sum(axis=1) > 4).astype("float32")[:, None]
