import numpy as np
import pytest

from gradwatch import schema
from gradwatch.diagnosis import diagnose
from gradwatch.testing import VARIABLES, merged_log, synthetic_log


def test_a_synthetic_log_is_healthy_and_well_formed():
    log = synthetic_log(num_steps=3)
    frame = log.frame()
    assert list(frame.columns) == list(schema.FRAME_COLUMNS)
    assert len(frame) == len(log) == 3 * len(VARIABLES)
    assert set(log.segments[0].values) == set(schema.VALUE_NAMES)
    assert log.info.num_trainable == len(VARIABLES)
    assert diagnose(synthetic_log()).findings == ()


def test_values_in_every_form():
    table = np.arange(8.0).reshape(2, 4)
    assert np.array_equal(synthetic_log(num_steps=2, grad_norm=table).wide("grad_norm"), table)
    assert synthetic_log(num_steps=2, grad_max=[1, 2]).wide("grad_max").loc[1].tolist() == [2] * 4
    assert synthetic_log(num_steps=2, zero_fraction=0.5).wide("zero_fraction").eq(0.5).all(axis=None)
    by_path = synthetic_log(num_steps=2, weight_norm={"head/bias": [3, 4]}).wide("weight_norm")
    assert by_path["head/bias"].tolist() == [3, 4]
    assert by_path["head/kernel"].tolist() == [1, 1]
    assert synthetic_log(loss=None).steps()["loss"].isna().all()


def test_norms_follow_counts_and_zeros():
    log = synthetic_log(
        num_steps=1, nan_count={"dense/kernel": 1}, inf_count={"dense/bias": 1}, zero_fraction={"head/bias": 1}
    )
    norms = log.wide("grad_norm").loc[0]
    assert np.isnan(norms["dense/kernel"])
    assert np.isinf(norms["dense/bias"])
    assert norms["head/bias"] == 0


def test_a_statistic_that_is_none_was_not_taken():
    log = synthetic_log(grad_norm=None)
    assert "grad_norm" not in log.segments[0].values
    assert "grad_norm" not in log.info.statistics


def test_merged_log_joins_what_is_one_variable():
    log = merged_log(synthetic_log(num_steps=2), synthetic_log(num_steps=2, step=[2, 3]))
    assert len(log.segments) == 1
    assert log.num_steps == 4
    assert merged_log().num_steps == 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"lost": 1.0}, "Unknown column 'lost'"),
        ({"detached": ["dense"]}, "Unknown variable 'dense'"),
        ({"grad_norm": {"other/kernel": 1.0}}, "Unknown variable 'other/kernel'"),
        ({"grad_norm": [1.0, 2.0]}, r"`grad_norm` does not fit. Received: shape \(2, 1\). Expected: \(60, 4\)"),
        ({"loss": [1.0, 2.0]}, r"`loss` does not fit. Received: shape \(2,\). Expected: \(60,\)"),
    ],
)
def test_bad_input(options, match):
    with pytest.raises(ValueError, match=match):
        synthetic_log(**options)
