import json

import pytest
from faults import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

import gradwatch
from benchmarks.faults import score, tables
from benchmarks.faults.peers.evidence import Verdict
from benchmarks.faults.program import FAULTY, HEALTHY, Program
from benchmarks.faults.programs import collect
from benchmarks.faults.score import OURS, TOOLS, Said, Scored, Share
from gradwatch.diagnosis import Diagnosis
from gradwatch.rules.base import Finding, Severity, Skipped
from gradwatch.testing import synthetic_log

RULES = ("ZeroGradient", "OutputActivation", "VanishingGradient", "UnstableLoss")
MACHINE = {"date": "2026-01-01", "processor": "abacus", "cores": 2, "versions": {"keras": "3"}}


def program(name="p", kind=FAULTY, expect=("ZeroGradient", "OutputActivation"), **rest):
    return Program(name=name, kind=kind, about="", train=print, symptom=bool, expect=expect, **rest)


def verdict(rule, *layers):
    return Verdict(f"{rule}!", (rule,), layers)


def scored(of, *rules, seed=0, symptom=True, layers=(), tool=OURS):
    said = {name: Said() for name in TOOLS}
    said[tool] = Said(tuple(verdict(rule, *layers) for rule in rules))
    return Scored(of, seed, symptom, None, said, 1.0)


@pytest.mark.parametrize(
    ("rules", "detected", "required", "first"),
    [
        ((), 0, 0, 0),
        (("ZeroGradient",), 1, 1, 1),
        (("OutputActivation",), 1, 0, 1),
        (("UnstableLoss", "ZeroGradient"), 1, 1, 0),
        (("OutputActivation", "ZeroGradient"), 1, 1, 1),
        (("UnstableLoss",), 0, 0, 0),
    ],
)
def test_faulty_run(rules, detected, required, first):
    got = score.figures([scored(program(), *rules)], OURS)
    assert (got.detected.count, got.required.count, got.root_first.count) == (detected, required, first)
    assert got.detected.of == got.required.of == got.root_first.of == 1
    assert got.layer_named == got.false_alarms == Share(0, 0)
    assert (got.findings_median, got.findings_max) == (len(rules), len(rules))


def test_verdict_may_stand_for_several_rules():
    said = Said((Verdict("numerical error", ("NonFiniteLoss", "ZeroGradient")),))
    assert said.has_required(program())
    assert said.num_false_alarms(program()) == 0


def test_healthy_runs():
    good, other = program("good", HEALTHY, ("UnstableLoss",)), program("other", HEALTHY, ())
    runs = [
        scored(good, "UnstableLoss"),
        scored(good, "ZeroGradient", "UnstableLoss", seed=1),
        scored(good, "ZeroGradient", "VanishingGradient", seed=2),
        scored(other),
    ]
    got = score.figures(runs, OURS)
    assert got.false_alarms == Share(2, 4)
    assert got.alarmed_programs == Share(1, 2)
    assert got.detected == Share(0, 0)
    assert str(got.false_alarms) == "2 of 4 (50%)"


def test_layer_has_to_be_named_by_a_right_finding():
    where = program(layers=("output", "block/*"))
    assert score.figures([scored(where, "ZeroGradient", layers=("net/output",))], OURS).layer_named == Share(1, 1)
    assert score.figures([scored(where, "UnstableLoss", layers=("net/output",))], OURS).layer_named == Share(0, 1)
    assert score.figures([scored(where, "ZeroGradient", layers=("net/hidden",))], OURS).layer_named == Share(0, 1)
    assert score.figures([scored(where, "ZeroGradient", layers=("net/block/a",))], OURS).layer_named == Share(1, 1)


def test_run_without_symptom_is_left_out_and_listed():
    runs = [scored(program(), "ZeroGradient"), scored(program(), seed=1, symptom=False)]
    runs.append(Scored(program("q"), 0, None, "Traceback\nLookupError: none"))
    assert score.figures(runs, OURS).detected == Share(1, 1)
    assert tables.left_out(runs) == ["p: the symptom was not there with seed 1 of 2", "q: failed with seed 0 of 1"]


def test_groups_and_peers_are_counted_apart():
    published = program("a", source="https://example.org", held_back=True)
    tuned, held = program("b"), program("c", held_back=True)
    runs = [scored(published, "ZeroGradient"), scored(tuned, tool="UMLAUT"), scored(held)]
    runs.append(scored(held, "ZeroGradient", seed=1, tool="UMLAUT"))
    groups = score.by_group(runs)
    assert list(groups) == [*score.GROUPS, "all"]
    assert [groups[group][OURS].detected for group in groups] == [Share(1, 1), Share(0, 1), Share(0, 2), Share(1, 4)]
    assert [groups[group]["UMLAUT"].detected.count for group in groups] == [0, 0, 1, 1]
    assert list(score.by_group(runs[:1])) == ["published", "all"]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([FAULTY, HEALTHY]), st.booleans(), st.lists(st.sampled_from(RULES), unique=True)),
        max_size=20,
    )
)
def test_figures_are_those_of_counting_by_hand(entries):
    runs = [
        scored(program(f"p{number}", kind), *rules, symptom=symptom)
        for number, (kind, symptom, rules) in enumerate(entries)
    ]
    got = score.figures(runs, OURS)
    faulty = [rules for kind, symptom, rules in entries if kind == FAULTY and symptom]
    healthy = [rules for kind, symptom, rules in entries if kind == HEALTHY and symptom]
    right = {"ZeroGradient", "OutputActivation"}
    assert got.detected == Share(sum(bool(right & set(rules)) for rules in faulty), len(faulty))
    assert got.required == Share(sum("ZeroGradient" in rules for rules in faulty), len(faulty))
    assert got.root_first == Share(sum(rules[:1] != [] and rules[0] in right for rules in faulty), len(faulty))
    assert got.false_alarms == Share(sum(bool(set(rules) - right) for rules in healthy), len(healthy))
    assert got.findings_max == max(map(len, faulty), default=0)
    assert got.root_first.count <= got.detected.count
    assert got.required.count <= got.detected.count


@settings(deadline=None)
@given(st.lists(st.text("abc_1", min_size=1), min_size=1, max_size=4), st.integers(0, 3))
def test_layer_matches_itself_without_what_is_before_it(parts, start):
    path = "/".join(parts)
    assert score.is_named(path, path)
    assert score.is_named(path, "*")
    assert score.is_named(path, "/".join(parts[min(start, len(parts) - 1) :]))
    assert not score.is_named(path, path + "x")


def test_markdown_has_a_table_for_each_group():
    runs = [scored(tiny.BAD, "ZeroGradient"), scored(tiny.GOOD), scored(tiny.BAD, seed=1, symptom=False)]
    text = tables.markdown(runs, MACHINE)
    assert "2026-01-01, abacus, 2 cores, keras 3. Seeds 0, 1." in text
    assert "## Published\n\n1 faulty and 0 healthy programs, 1 runs." in text
    assert "| faulty runs with a right finding | 1 of 1 (100%) | 0 of 1 (0%) |" in text
    assert "- bad: the symptom was not there with seed 1 of 2" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {len(TOOLS) + 2}


def test_plain_score_is_json():
    plain = json.loads(json.dumps(score.to_plain([scored(tiny.BAD, "ZeroGradient"), scored(tiny.GOOD)], MACHINE)))
    assert plain["figures"]["published"][OURS]["detected"] == {"count": 1, "of": 1}
    assert plain["programs"]["bad"]["runs"][0]["said"][OURS]["verdicts"][0]["rules"] == ["ZeroGradient"]


@pytest.mark.parametrize("severity", Severity)
def test_log_is_judged_anew_and_an_info_is_no_finding(tmp_path, monkeypatch, severity):
    synthetic_log(num_steps=4).save(tmp_path / "log")
    finding = Finding(code="X", rule="R", severity=severity, message="m", remedy="", layers=("a/b",))
    monkeypatch.setattr(gradwatch, "diagnose", lambda log: Diagnosis((finding,), (Skipped("S", "Y", "why"),)))
    said = score.ours(tmp_path / "log")
    assert said.verdicts == (() if severity == "info" else (Verdict("m", ("R",), ("a/b",)),))
    assert said.not_judged == ("S: why",)


def test_without_a_log_nothing_is_said(tmp_path):
    assert score.ours(tmp_path / "log").verdicts == ()
    assert "there is no log" in score.ours(tmp_path / "log").not_judged[0]


def test_collect_refuses_two_programs_of_one_name(tmp_path, monkeypatch):
    package = tmp_path / "made_up_programs"
    package.mkdir()
    (package / "__init__.py").touch()
    text = "from faults import tiny\nimport dataclasses\nPROGRAMS = (dataclasses.replace(tiny.BAD, name='{}'),)\n"
    (package / "one.py").write_text(text.format("a"))
    (package / "two.py").write_text(text.format("b"))
    monkeypatch.syspath_prepend(tmp_path)
    assert [found.name for found in collect("made_up_programs")] == ["a", "b"]
    (package / "three.py").write_text(text.format("b"))
    with pytest.raises(ValueError, match="'b', in three and two of made_up_programs"):
        collect("made_up_programs")


def test_programs_of_the_benchmark_are_complete():
    from benchmarks.faults.programs import PROGRAMS

    assert len({found.name for found in PROGRAMS}) == len(PROGRAMS)
    for found in PROGRAMS:
        assert found.kind in (FAULTY, HEALTHY), found.name
        assert found.about, found.name
        assert found.expect or found.kind == HEALTHY, found.name
        assert all(isinstance(value, str) for value in (*found.expect, *found.layers)), found.name
