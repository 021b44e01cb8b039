"""Logs to draw, and a figure that no one else knows."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from gradwatch.log import Log
from gradwatch.testing import merged_log, synthetic_log


@pytest.fixture
def ax():
    """Axes of a figure outside of pyplot; pyplot must not have noticed anything afterwards."""
    before = plt.get_fignums()
    yield Figure(figsize=(9, 4.5), layout="constrained").add_subplot()
    assert plt.get_fignums() == before


@pytest.fixture(autouse=True)
def no_figure_left():
    yield
    plt.close("all")


def _large(num_steps: int = 50) -> Log:
    variables = {f"model/block_{i}/dense/kernel": (8, 8) for i in range(300)}
    norm = np.logspace(-4, 0, 300) * (1 + np.arange(num_steps)[:, None] % 3)
    return synthetic_log(num_steps=num_steps, variables=variables, grad_norm=norm)


def _gan() -> Log:
    generator = synthetic_log(
        num_steps=10, variables={"g/kernel": (2, 2)}, optimizer="g", step=np.arange(2, 30, 3)[:10]
    )
    steps = np.array([step for step in range(30) if step % 3 != 2])
    discriminator = synthetic_log(num_steps=20, variables={"d/kernel": (2, 2)}, optimizer="d", step=steps)
    return merged_log(generator, discriminator)


LOGS = {
    "empty": Log,
    "no_steps": lambda: synthetic_log(num_steps=0),
    "one_step": lambda: synthetic_log(num_steps=1),
    "healthy": synthetic_log,
    "full": lambda: synthetic_log(weight_norm=1.0, update_norm=1e-3),
    "only_zeros": lambda: synthetic_log(zero_fraction=1.0),
    "some_nan": lambda: synthetic_log(nan_count={"head/kernel": np.arange(60) == 7}),
    "all_nan": lambda: synthetic_log(nan_count=3, inf_count=2, applied=False),
    "detached": lambda: synthetic_log(detached=["dense/kernel", "dense/bias"]),
    "all_detached": lambda: synthetic_log(detached=["dense/kernel", "dense/bias", "head/kernel", "head/bias"]),
    "counts_only": lambda: synthetic_log(grad_norm=None, grad_max=None, zero_fraction=None),
    "norm_only": lambda: synthetic_log(nan_count=None, inf_count=None, grad_max=None, zero_fraction=None),
    "tiny": lambda: synthetic_log(grad_norm=1e-45),
    "gan": _gan,
    "large": _large,
}


@pytest.fixture(params=LOGS)
def any_log(request):
    """Every kind of log there is."""
    return LOGS[request.param]()


@pytest.fixture
def make_log():
    """Gives one of `LOGS` by name."""
    return lambda name: LOGS[name]()
