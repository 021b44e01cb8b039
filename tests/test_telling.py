from gradwatch.causes import Cause
from gradwatch.diagnosis import Diagnosis
from gradwatch.errors import DetachedVariableError, GradientError, NonFiniteGradientError
from gradwatch.rules import Finding
from gradwatch.telling import Telling, error_for, words_of


def finding(rule="NonFiniteLoss", severity="error", step=7, cause=None):
    return Finding(
        code="GW999",
        rule=rule,
        severity=severity,
        variables=("dense/kernel",),
        layers=("dense",),
        first_step=step,
        last_step=step,
        value=None,
        threshold=None,
        message=f"{rule} happened.",
        remedy="Mend it.",
        cause=cause,
    )


def test_words():
    assert words_of(finding()) == "[GW999 NonFiniteLoss] NonFiniteLoss happened. What to do: Mend it."


def test_the_error_is_about_the_root_and_holds_all():
    root, other, more = finding(), finding("ZeroGradient"), finding("VanishingGradient", "warning")
    error = error_for([root, other], Diagnosis((root, other, more)))
    assert type(error) is NonFiniteGradientError
    assert (error.step, error.findings) == (7, (root, other, more))
    assert str(error) == f"{words_of(root)} At the same time: [GW999 ZeroGradient] ZeroGradient happened."
    assert type(error_for([other], Diagnosis((other,)))) is GradientError
    detached = finding("DetachedVariable")
    assert type(error_for([detached], Diagnosis((detached,)))) is DetachedVariableError


def test_each_finding_is_told_once_for_each_cause():
    telling = Telling()
    one, other = finding(cause=Cause("forward")), finding(cause=Cause("backward"))
    assert telling.fresh(Diagnosis((one,)), final=False) == [one]
    assert telling.fresh(Diagnosis((one, other)), final=False) == [other]
    assert telling.fresh(Diagnosis((one, other)), final=True) == []


def test_what_is_not_urgent_waits_for_the_end_and_infos_are_never_told():
    telling = Telling()
    found = {name: finding(name, severity) for name, severity in SEVERITIES.items()}
    diagnosis = Diagnosis(tuple(found.values()))
    assert telling.fresh(diagnosis, final=False) == [found["NonFiniteLoss"], found["DetachedVariable"]]
    assert telling.fresh(diagnosis, final=True) == [found["VanishingGradient"]]


SEVERITIES = {
    "NonFiniteLoss": "error",
    "DetachedVariable": "warning",
    "VanishingGradient": "warning",
    "UnoptimizedVariable": "info",
}


def test_a_warning_is_told_when_it_was_found_three_times_in_a_row():
    telling, doubt = Telling(), Diagnosis((finding("VanishingGradient", "warning"),))
    told = [
        telling.fresh(diagnosis, final=False) for diagnosis in (doubt, doubt, Diagnosis(), doubt, doubt, doubt, doubt)
    ]
    assert told == [[], [], [], [], [], list(doubt.findings), []]
    assert telling.fresh(doubt, final=True) == []


def test_a_nan_that_something_led_to_is_still_a_nan():
    root, nan = finding("UpdateTooLarge"), finding("NonFiniteGradient", step=9)
    error = error_for([root, nan], Diagnosis((root, nan)))
    assert (type(error), error.step, error.findings) == (NonFiniteGradientError, 7, (root, nan))
