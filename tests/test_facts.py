import keras
import pytest

from gradwatch.causes import Cause
from gradwatch.errors import GradientWarning
from gradwatch.facts import Facts, summary_of
from gradwatch.options import check_options
from gradwatch.records import Origin
from gradwatch.rules import RULES


def options(**changed):
    given = {
        "run_dir": None,
        "every_steps": 1,
        "statistics": "default",
        "fail_fast": False,
        "on_nonfinite": "record",
        "max_consecutive_skips": 10,
        "allow_detached": (),
        "save_bad_step": True,
        "find_origin": True,
        "rules": RULES,
        "sinks": (),
    }
    return check_options(**given | changed)


def net():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="only")], name="net")


def test_what_is_known():
    facts = Facts(options(every_steps=3, allow_detached=("pooler/*",), on_nonfinite="skip", fail_fast=["GW202"]))
    model = net()
    facts.begin(model)
    origins = (Origin(3, Cause("forward")),)
    info = facts.info(2, origins, None, ())
    assert (info.model, info.every_steps, info.on_nonfinite) == ("net", 3, "skip")
    assert (info.num_trainable, info.origins, info.outcome) == (2, origins, "running")
    assert info.options["fail_fast"] == ["NonFiniteLoss"]
    assert info.options["allow_detached"] == ["pooler/*"]
    assert info.summary == ("net (Sequential): 1 layers, 8 weights, 8 of them trainable\nonly (Dense): (None, 2), 8")
    assert info.versions["keras"] == keras.__version__


def test_a_model_that_is_built_later_has_its_summary_later():
    facts, model = Facts(options()), keras.Sequential([keras.layers.Dense(2, name="only")])
    facts.begin(model)
    assert facts.info(None, (), None, ()).summary == ""
    model.build((None, 3))
    assert "only" in facts.info(None, (), None, ()).summary


def test_a_model_without_a_summary_costs_one_warning(monkeypatch):
    facts, model = Facts(options()), net()
    monkeypatch.setattr(keras.Sequential, "count_params", lambda *_, **__: 1 / 0)
    facts.begin(model)
    with pytest.warns(GradientWarning, match="reading the summary of the model") as caught:
        assert [facts.info(None, (), None, ()).summary for _ in range(3)] == ["", "", ""]
    assert len(caught) == 1


def test_a_model_is_not_kept_alive_and_there_may_be_none():
    facts = Facts(options())
    facts.begin(None)
    assert (facts.model, facts.info(None, (), None, ()).model, facts.info(None, (), None, ()).summary) == (None, "", "")


def test_another_model_is_told():
    facts, model, other = Facts(options()), net(), net()
    facts.begin(model)
    facts.begin(model)
    with pytest.warns(GradientWarning, match=r"has watched the model 'net' before.*a watch of its own"):
        facts.begin(other)


def test_metrics_that_are_not_finite():
    facts = Facts(options())
    facts.saw_metrics({"loss": float("nan"), "auc": float("nan"), "mae": 1.0, "note": "nan"})
    facts.saw_metrics({"auc": float("inf"), "mae": float("-inf")})
    assert facts.info(None, (), None, ()).nonfinite_metrics == ("auc", "mae")


def test_a_summary_of_layers_that_have_no_shape():
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.inside = keras.layers.Dense(2, name="inside", trainable=False)
            self.unused = keras.layers.Dense(3, name="unused")

        def call(self, x):
            return self.inside(x)

    model = Own()
    model(keras.ops.ones((1, 4)))
    assert summary_of(model).splitlines() == [
        "own (Own): 2 layers, 10 weights, 0 of them trainable",
        "inside (Dense): ?, 10, frozen",
        "unused (Dense): ?, ?",
    ]
