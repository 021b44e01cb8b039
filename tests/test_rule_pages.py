"""Holds the pages of the rules against the rules; the runs that they show are made by benchmarks/faults/pages.py."""

import dataclasses
import inspect
import pathlib
import re
import struct

import pytest

import gradwatch
from benchmarks.faults import pages, recording

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ROOT / "docs" / "rules"
INDEX = (PAGES / "README.md").read_text()
SECTIONS = ["What it means", "What it looks like", "What to do", "When it is wrong", "References"]
BY_NAME = {rule.name: rule for rule in gradwatch.RULES}


@pytest.fixture(params=gradwatch.RULES, ids=lambda rule: rule.name)
def rule(request):
    return request.param


@pytest.fixture
def page(rule):
    (path,) = PAGES.glob(f"{rule.code}-*.md")
    return path


def test_there_is_no_page_or_picture_of_anything_else():
    codes = sorted(path.name[:5] for path in PAGES.glob("GW*.md"))
    assert codes == [rule.code for rule in gradwatch.RULES]
    assert {path.stem for path in PAGES.glob("*.png")} == {path.stem for path in PAGES.glob("GW*.md")}


def test_a_page_has_its_name_title_and_sections(rule, page):
    text = page.read_text()
    assert page.stem.partition("-")[2].replace("-", "") == rule.name.lower()
    assert text.startswith(f"# {rule.code} {rule.name}\n\n{rule.title[0].upper()}{rule.title[1:]}.\n")
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == SECTIONS
    meaning = text.partition("## What it means")[2].partition("\n## ")[0]
    severities = re.search(r"^Severity: ([^.]*)", meaning, re.MULTILINE).group(1)
    assert str(rule.severity) in severities


def test_a_page_names_every_threshold_with_its_default(rule, page):
    table, prose = page.read_text().split("<!-- end of thresholds -->")[0].split("<!-- thresholds -->")[::-1]
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| \S", table, re.MULTILINE)
    assert rows == [(field.name, f"{field.default:g}") for field in dataclasses.fields(rule)]
    for name, _ in rows:
        assert f"`{name}`" in prose or f"{name} *" in prose or f"> {name}" in prose, name
    assert set(dict(rows)) == set(inspect.signature(type(rule)).parameters)


def test_a_page_has_a_small_picture(page):
    (name,) = re.findall(r"^!\[.+\]\((.+)\)$", page.read_text(), re.MULTILINE)
    picture = (PAGES / name).read_bytes()
    width, height = struct.unpack(">II", picture[16:24])
    assert name == f"{page.stem}.png"
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 100_000
    assert (width, height < 500) == (800, True)


def test_a_page_quotes_a_finding(rule, page):
    (quoted,) = re.findall(r"```text\n(.*?)\n```", page.read_text(), re.DOTALL)
    heading = re.match(rf"(\w+) {rule.code} {rule.name}(?:, steps? |\n)", quoted)
    assert gradwatch.Severity(heading.group(1).lower()) <= rule.severity
    assert "\n  What to do: " in quoted


def test_the_code_on_a_page_is_code(page):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(blocks) == 1
    compile(f"def example():\n{re.sub('^', '    ', blocks[0], flags=re.MULTILINE)}", page.name, "exec")
    assert "# before" in blocks[0]
    assert "# after" in blocks[0]


def test_rules_with_other_thresholds_can_be_made_as_it_says(page):
    for call in re.findall(r"`(gradwatch\.rules\.(\w+)\([^`]*\))`", page.read_text()):
        made = eval(call[0], {"gradwatch": gradwatch})
        assert made != BY_NAME[call[1]]


def test_what_is_linked_is_there(page):
    for path in (page, PAGES / "README.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", path.read_text()):
            assert (PAGES / target).exists(), (path.name, target)
    assert "## Silencing a rule" in INDEX


def test_the_index_is_complete():
    rows = re.findall(r"^\| (GW\d+) \| \[(\w+)\]\((\S+)\) \| (.+) \| (\w+) \|$", INDEX, re.MULTILINE)
    assert [(code, name, title, severity) for code, name, _, title, severity in rows] == [
        (rule.code, rule.name, rule.title, str(rule.severity)) for rule in gradwatch.RULES
    ]
    assert all(link.startswith(f"{code}-") for code, _, link, _, _ in rows)


def test_the_code_in_the_index_runs():
    for block in re.findall(r"```python\n(.*?)```", INDEX, re.DOTALL):
        exec(compile(block, "README.md", "exec"), {"gradwatch": gradwatch})


def test_the_table_of_thresholds_is_in_the_words_of_the_rule(rule, page):
    assert f"<!-- thresholds -->\n{pages.threshold_table(rule)}\n<!-- end of thresholds -->" in page.read_text()


def test_a_page_shows_the_program_that_it_is_made_from(rule, page):
    name = pages.SHOWN[rule.name].program
    program = pages.OWN.get(name) or recording.find(name)
    assert pages.page_of(rule) == page
    assert f"*[`{name}`](../../benchmarks/faults/" in page.read_text()
    assert not program.held_back
    assert " ".join(program.about.split()) in " ".join(page.read_text().split())


def test_every_rule_is_shown():
    assert set(pages.SHOWN) == set(BY_NAME)
    assert set(pages.OWN) <= {shown.program for shown in pages.SHOWN.values()}
