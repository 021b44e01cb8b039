import numpy as np

from gradwatch.log import Log
from gradwatch.plots.ranking import ranking
from gradwatch.testing import synthetic_log

VARIABLES = {f"{name}/kernel": (4, 4) for name in ("a", "b", "c", "d", "e", "f", "g")}


def test_order_is_detached_nonfinite_zero_then_extreme():
    log = synthetic_log(
        variables=VARIABLES,
        detached=["g/kernel"],
        nan_count={"f/kernel": np.arange(60) == 3},
        zero_fraction={"e/kernel": 1.0},
        grad_norm={
            "a/kernel": 1.0,
            "b/kernel": 1.0,
            "c/kernel": 1e-2,
            "d/kernel": 1e4,
            "e/kernel": 0.0,
            "f/kernel": np.where(np.arange(60) == 3, np.nan, 1.0),
        },
    )
    table = ranking(log)
    assert [name[0] for name in table.index] == ["g", "f", "e", "d", "c", "a", "b"]
    assert table.loc["f/kernel", "nonfinite_steps"] == 1
    assert table.loc["e/kernel", "zero_steps"] == 60
    np.testing.assert_allclose(table["decades"].to_numpy()[3:], [4, -2, 0, 0], atol=1e-12)


def test_numbers():
    norm = np.array([5.0, 1.0, np.inf, 3.0])
    table = ranking(synthetic_log(num_steps=4, grad_norm={"head/bias": norm}, inf_count={"head/bias": [0, 0, 2, 0]}))
    facts = table.loc["head/bias"]
    assert (facts["first_norm"], facts["median_norm"], facts["last_norm"]) == (5.0, 3.0, 3.0)
    assert (facts["nan_count"], facts["inf_count"], facts["recorded"]) == (0, 2, 4)


def test_empty():
    assert ranking(Log()).empty
    assert len(ranking(synthetic_log(num_steps=0))) == 4
