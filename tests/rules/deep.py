"""Logs of a deep network, for the rules that compare its layers."""

import numpy as np

from gradwatch.testing import synthetic_log

NUM_STEPS = 60
DEEP = {f"layer_{i}/{name}": shape for i in range(8) for name, shape in [("kernel", (4, 4)), ("bias", (4,))]}
STEPS = np.arange(NUM_STEPS)


def deep_log(scales, **values):
    """A log of a deep network with a root mean square for each layer, a number or `[steps]`."""
    norms = {
        path: np.asarray(scale) * np.sqrt(np.prod(DEEP[path]))
        for i, scale in enumerate(scales)
        for path in (f"layer_{i}/kernel", f"layer_{i}/bias")
    }
    return synthetic_log(variables=DEEP, grad_norm=norms, **values)


def noisy(median, spread, seed=0):
    return median * np.exp(spread * np.random.default_rng(seed).standard_normal(NUM_STEPS))


HEALTHY = {
    "flat": deep_log([1e-2] * 8),
    "decays mildly": deep_log([1e-2 * 2.0 ** (i - 8) for i in range(8)]),
    "noisy": deep_log([noisy(1e-2, 2.0, seed) for seed in range(8)]),
    "one spike": deep_log([np.where(STEPS == 40, 1e5, 1e-2)] * 8),
    "converges": deep_log([1e-2 * np.exp(-STEPS / 2.5)] * 8, loss=np.exp(-STEPS / 2.5)),
    "converges on a floor of loss": deep_log([1e-2 * np.exp(-STEPS / 2)] * 8, loss=1 + np.exp(-STEPS)),
    "fine-tunes": deep_log([2e-5] * 6 + [1e-2] * 2),
    "wakes up": deep_log([np.where(STEPS == 0, 0, 1e-2)] * 7 + [1e-2]),
    "bias before normalization": synthetic_log(
        variables={"conv/kernel": (3, 3), "conv/bias": (3,), "head/kernel": (3, 2)}, grad_norm={"conv/bias": 1e-12}
    ),
    "zero key bias": synthetic_log(zero_fraction={"dense/bias": 1.0}),
    "sparse embedding": synthetic_log(
        variables={"embedding/embeddings": (10**8, 1), "head/kernel": (3, 2)},
        zero_fraction={"embedding/embeddings": 1 - 1e-7},
        grad_norm={"embedding/embeddings": 1e-3 * np.sqrt(10), "head/kernel": 1.0},
    ),
    "large from the start": deep_log([300.0] * 8, loss=1e5),
    "perfect": synthetic_log(zero_fraction=1.0, loss=np.where(STEPS < 30, 1e-3, 0)),
}
