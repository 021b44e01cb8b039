import dataclasses

import pytest

from gradwatch.causes import Cause
from gradwatch.log import Log
from gradwatch.records import RunInfo
from gradwatch.rules import DetachedVariable, NoTrainableVariables, Skip, UnoptimizedVariable
from gradwatch.testing import VARIABLES, findings_of, merged_log, synthetic_log


@pytest.mark.parametrize(
    "rule", [DetachedVariable(), UnoptimizedVariable(), NoTrainableVariables()], ids=lambda rule: rule.name
)
def test_healthy_log(rule):
    assert findings_of(rule, synthetic_log()) == ()


@pytest.mark.parametrize(
    "rule", [DetachedVariable(), UnoptimizedVariable(), NoTrainableVariables()], ids=lambda rule: rule.name
)
def test_nothing_recorded_is_skipped(rule):
    with pytest.raises(Skip):
        findings_of(rule, Log())


def test_partly_detached_is_a_warning_grouped_by_layer():
    (finding,) = findings_of(DetachedVariable(), synthetic_log(detached=["dense/kernel", "dense/bias"]))
    assert finding.severity == "warning"
    assert (finding.variables, finding.layers) == (("dense/kernel", "dense/bias"), ("dense",))
    assert finding.value == 2
    assert "No gradient reaches 2 of the 4 variables of optimizer 'adam'" in finding.message
    assert "so they are never trained" in finding.message
    assert "dense (kernel, bias)" in finding.message
    assert "`.numpy()`" in finding.remedy


@pytest.mark.parametrize("num_steps", [0, 1, 60])
def test_all_detached_is_an_error(num_steps):
    (finding,) = findings_of(DetachedVariable(), synthetic_log(detached=list(VARIABLES), num_steps=num_steps))
    assert finding.severity == "error"
    assert finding.variables == tuple(VARIABLES)
    assert "so nothing is trained" in finding.message
    assert finding.first_step == (0 if num_steps else None)


def test_allowed_is_info_beside_a_fault():
    info = RunInfo(allow_detached=("dense/*",))
    log = synthetic_log(detached=["dense/kernel", "dense/bias", "head/bias"], info=info)
    fault, allowed = findings_of(DetachedVariable(), log)
    assert (fault.severity, fault.variables) == ("warning", ("head/bias",))
    assert (allowed.severity, allowed.layers) == ("info", ("dense",))


def test_all_detached_and_all_allowed_is_info():
    log = synthetic_log(detached=list(VARIABLES), info=RunInfo(allow_detached=("*",)))
    assert [finding.severity for finding in findings_of(DetachedVariable(), log)] == ["info"]


def test_300_detached_layers_make_one_short_message():
    shapes = {f"layer_{i}/kernel": (2, 2) for i in range(300)}
    (finding,) = findings_of(DetachedVariable(), synthetic_log(variables=shapes, detached=list(shapes)))
    assert len(finding.variables) == 300
    assert "and 294 more layers" in finding.message
    assert len(finding.message) < 400


def test_one_finding_for_each_set_of_cuts():
    """Variables behind the same cut are one finding, with the cut in its sentence and the mend that fits."""
    argmax = Cause("not differentiable", op_type="ArgMax", source="train.py:83", code="y = tf.argmax(x)")
    stop = Cause("stopped", op_type="StopGradient")
    log = synthetic_log(detached=["dense/kernel", "dense/bias", "head/bias"])
    infos = [
        dataclasses.replace(info, cuts=(argmax, stop) if info.layer == "dense" else ()) for info in log.variable_infos
    ]
    known, unknown = findings_of(DetachedVariable(), Log(infos, log.segments, log.info))
    assert (known.cause, known.variables) == (argmax, ("dense/kernel", "dense/bias"))
    assert "`ArgMax` (train.py:83) has no gradient and `StopGradient` stops the gradient on purpose." in known.message
    assert known.remedy == f"{argmax.mend} {stop.mend}"
    assert (unknown.cause, unknown.variables) == (None, ("head/bias",))
    assert unknown.remedy == DetachedVariable.remedy


def test_one_finding_for_each_optimizer():
    one = synthetic_log(variables={"d/kernel": (2, 2)}, optimizer="d", detached=["d/kernel"])
    two = synthetic_log(variables={"g/kernel": (2, 2), "g/bias": (2,)}, optimizer="g", detached=["g/bias"])
    findings = findings_of(DetachedVariable(), merged_log(one, two))
    assert [(f.severity, f.variables) for f in findings] == [("error", ("d/kernel",)), ("warning", ("g/bias",))]


def test_variable_that_had_a_gradient_once_is_not_detached():
    log = merged_log(synthetic_log(detached=["head/bias"]), synthetic_log())
    assert findings_of(DetachedVariable(), log) == ()


def test_unoptimized_and_untracked_are_told_apart():
    log = synthetic_log(unoptimized=["dense/kernel", "dense/bias"], untracked=["head/bias"])
    tracked, untracked = findings_of(UnoptimizedVariable(), log)
    assert (tracked.severity, tracked.variables) == ("warning", ("dense/kernel", "dense/bias"))
    assert "No optimizer was ever given dense (kernel, bias)" in tracked.message
    assert untracked.variables == ("head/bias",)
    assert "add_weight" in untracked.remedy


def test_untracked_variable_that_an_optimizer_has_is_fine():
    log = synthetic_log(num_steps=3, variables={"dense/kernel": (2, 2)})
    assert findings_of(UnoptimizedVariable(), log) == ()


def test_unoptimized_needs_a_step():
    with pytest.raises(Skip, match="not known yet"):
        findings_of(UnoptimizedVariable(), synthetic_log(unoptimized=["head/bias"], num_steps=0))


def test_nothing_to_train():
    (finding,) = findings_of(NoTrainableVariables(), Log(info=RunInfo(model="net", num_trainable=0)))
    assert finding.severity == "error"
    assert "model net has no trainable variable" in finding.message
    assert finding.first_step is None


def test_whole_model_that_is_used_but_not_trained_is_an_info():
    log = synthetic_log(unoptimized=["dense/kernel", "dense/bias"])
    infos = [dataclasses.replace(v, submodel=v.layer) for v in log.variable_infos]
    (finding,) = findings_of(UnoptimizedVariable(), Log(infos, log.segments, log.info))
    assert finding.severity == "info"
    assert finding.variables == ("dense/kernel", "dense/bias")
    assert "'dense': a model that is used as it is" in finding.message


def test_part_of_a_model_that_is_not_trained_is_a_warning():
    log = synthetic_log(unoptimized=["dense/kernel"])
    infos = [dataclasses.replace(v, submodel="body" if v.layer == "dense" else "") for v in log.variable_infos]
    (finding,) = findings_of(UnoptimizedVariable(), Log(infos, log.segments, log.info))
    assert finding.severity == "warning"
