import json

import numpy as np
import pytest

import gradwatch
from gradwatch import compare, testing

STEPS = 40


def log(**kwargs):
    return testing.synthetic_log(num_steps=STEPS, **kwargs)


def norms(changes):
    """Norms of the synthetic log as they are, but for some variables from some step on."""
    base = log().wide("grad_norm")
    for variable, (step, factor) in changes.items():
        base.loc[step:, variable] *= factor
    return {name: base[name].to_numpy() for name in base}


def test_a_run_does_not_differ_from_itself():
    result = compare(log(), log())
    assert result.parts_at is None
    assert result.num_steps == STEPS
    assert not result.worse
    assert result.frame()["parts_at"].isna().all()
    assert (result.frame()["decades"] == 0).all()
    assert str(result) == f"The runs do not differ in the {STEPS} recorded steps that both have."


def test_layers_that_differ_most_come_first_with_the_step_where_they_part():
    first, *_, second = (info.path for info in log().variable_infos)
    b = log(grad_norm=norms({first: (10, 1000.0), second: (5, 0.5)}))
    result = compare(log(), b)
    assert result.parts_at == 5
    table = result.frame()
    assert table["layer"][0] == first.rpartition("/")[0]
    assert table["parts_at"][0] == 10
    assert table["decades"][0] > 1
    by_layer = table.set_index("layer")
    assert by_layer["parts_at"][second.rpartition("/")[0]] == 5
    assert table["decades"].abs().is_monotonic_decreasing
    oracle = log().layers().pivot(index="step", columns="layer", values="grad_norm")
    for layer, row in by_layer.iterrows():
        assert row["norm_a"] == pytest.approx(np.median(oracle[layer].to_numpy(float)))


def test_a_difference_below_the_tolerance_is_none():
    path = log().variable_infos[0].path
    b = log(grad_norm=norms({path: (0, 1 + 1e-4)}))
    assert compare(log(), b).parts_at is None
    assert compare(log(), b, tolerance=1e-6).parts_at == 0
    with pytest.raises(ValueError, match=r"must not be negative\. Received: tolerance=-1"):
        compare(log(), b, tolerance=-1)


def test_a_nan_in_one_only_parts_them_and_is_a_finding_of_one():
    path = log().variable_infos[0].path
    changed = norms({})
    changed[path] = changed[path].copy()
    changed[path][7] = np.nan
    counts = np.zeros(STEPS)
    counts[7] = 3
    bad = log(grad_norm=changed, nan_count={path: counts})
    result = compare(log(), bad)
    assert result.parts_at == 7
    assert result.worse
    assert [finding.rule for finding in result.only_b] == ["NonFiniteGradient"]
    assert not result.only_a
    assert "Only in b: [GW201 NonFiniteGradient]" in str(result)
    back = compare(bad, log())
    assert not back.worse
    assert back.only_a == result.only_b
    assert compare(bad, bad).parts_at is None


def test_the_loss_alone_can_part_them():
    loss = log().steps()["loss"].to_numpy().copy()
    loss = np.where(np.isfinite(loss), loss, 1.0)
    other = loss.copy()
    other[12:] += 1.0
    result = compare(log(loss=loss), log(loss=other))
    assert result.parts_at == 12
    assert result.frame()["parts_at"].isna().all()


def test_layers_of_one_run_only():
    b = testing.synthetic_log(num_steps=STEPS, variables={"other/kernel": (3, 4)})
    result = compare(log(), b)
    table = result.frame().set_index("layer")
    assert np.isnan(table.loc["other", "norm_a"])
    assert table.loc["other", "norm_b"] > 0
    assert result.parts_at == 0


def test_a_model_that_was_made_twice_has_other_names():
    sizes = {info.path: info.shape for info in log().variable_infos}
    again = testing.synthetic_log(num_steps=STEPS, variables={f"net_1/{path}": shape for path, shape in sizes.items()})
    result = compare(log(), again)
    assert result.parts_at is None
    assert set(result.frame()["layer"]) == {info.layer for info in log().variable_infos}


def test_runs_without_a_common_step():
    empty = gradwatch.Log((), (), gradwatch.log.RunInfo())
    result = compare(log(), empty)
    assert result.num_steps == 0
    assert "no recorded step in common" in str(result)
    json.loads(result.to_json())


def test_json_holds_all_of_it():
    path = log().variable_infos[0].path
    zero = norms({path: (0, 0.0)})
    plain = json.loads(compare(log(), log(grad_norm=zero)).to_json())
    assert set(plain) == {"parts_at", "num_steps", "layers", "only_a", "only_b"}
    assert plain["parts_at"] == 0
    assert set(plain["layers"][0]) == {"layer", "norm_a", "norm_b", "decades", "parts_at"}


def test_names_are_in_the_words_and_have_to_be_two():
    detached = log(detached=["head/kernel"])
    assert "Only in today: [GW401" in str(compare(log(), detached, names=("yesterday", "today")))
    with pytest.raises(ValueError, match=r"`names` must be two names\. Received: names='ab'"):
        compare(log(), log(), names="ab")


def test_the_report_is_that_of_b_with_its_diagnosis():
    result = compare(log(), log(detached=["head/kernel"]))
    report = result.report()
    assert report.diagnosis is result.diagnosis
    assert [finding.code for finding in report.diagnosis.findings] == ["GW401"]
    assert report.compared.verdict == result.verdict
    assert [(pair.layer, pair.position) for pair in report.compared.layers] == [("head", 1), ("dense", 0)]
    assert report.compared.layers[0].ratio == pytest.approx(10 ** result.frame()["decades"][0])
