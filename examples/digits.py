"""The handwritten digits that ship with scikit-learn: small, real, and on the disk already."""

from __future__ import annotations

import numpy as np
import sklearn.datasets


def load() -> tuple[np.ndarray, np.ndarray]:
    """The 1797 images, as float32 rows of 64 pixels from 0 to 1, and the digit each of them shows."""
    pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
    return (pixels / 16).astype("float32"), labels  # [1797, 64], [1797]
