import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from gradwatch import plots
from gradwatch.diagnosis import Diagnosis, diagnose
from gradwatch.log import Log
from gradwatch.reporting import content, html, pictures, report
from gradwatch.testing import synthetic_log


class Elements(HTMLParser):
    """Collects the tags of a page and the text outside of style and script."""

    VOID = ("meta", "link", "input", "br", "wbr", "path", "image", "use", "rect")

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += data


def test_golden(log, diagnosis, golden):
    page = html.page(content.gather(log, diagnosis))
    page = re.sub(r"<(style|script)>.*?</\1>", r"<\1></\1>", page, flags=re.DOTALL)
    golden(re.sub(r"sha256-[\w+/=]+", "sha256-", page), "report.html")


def test_is_well_formed(log, diagnosis):
    assert Elements(report(log, diagnosis).to_html()).open == []


def test_nothing_from_the_log_acts_as_markup(log, diagnosis):
    page = Elements(report(log, diagnosis).to_html())
    assert page.tags.count("script") == 1
    assert {"b", "i"}.isdisjoint(page.tags)
    assert "<script>alert(1)</script>" in page.text
    assert "y = tf.math.log(x) # <i>" in page.text


def test_needs_no_network(log, diagnosis):
    page = Elements(report(log, diagnosis).to_html())
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "action", "srcset"):
            assert re.match(r"data:|#", value), (name, value)
    assert "//" not in re.sub(r"data:[^\"']*", "", "".join(str(value) for _, value in page.attributes))
    assert "@import" not in report(log, diagnosis).to_html()


def test_says_verdict_findings_facts_rows_and_skipped_in_order(log, diagnosis):
    text = " ".join(Elements(report(log, diagnosis).to_html()).text.split())
    places = [
        text.index(words)
        for words in (
            "Not healthy: 1 error, 1 warning, 1 note",
            "Error NonFiniteGradient GW201, steps 18 to 19",
            "Clip the argument of log",
            "Log in layer head, train.py:83",
            "Warning DetachedVariable",
            "2 of 20",
            "Variables, worst first",
            "Gradient norms",
            "GW301 UpdateTooLarge: update_norm was not recorded",
        )
    ]
    assert places == sorted(places)


def test_style_and_ids_stay_inside(log, diagnosis):
    fragment = report(log, diagnosis)._repr_html_()
    style = re.search(r"<style>(.*?)</style>", fragment, re.DOTALL)[1]
    selectors = re.findall(r"(?:^|[{}])\s*([^@{}\s][^{}]*)\{", style)
    assert selectors
    assert all(".gradwatch-report" in part for selector in selectors for part in selector.split(","))
    ids = re.findall(r' id="([^"]*)"', fragment)
    assert len(ids) == len(set(ids))


def test_drawing_again_gives_the_same(log, diagnosis):
    assert report(log, diagnosis).to_html() == report(log, diagnosis).to_html()


def test_pictures_take_their_ink_from_the_page(log):
    svg = pictures.draw(log)[0].svg
    assert "currentColor" in svg
    assert pictures.INK not in svg
    assert "#000000" not in svg


def test_only_pictures_that_show_something():
    names, ratio = ["norms", "heatmap", "depth_profile"], "update_ratio"
    assert [picture.name for picture in pictures.draw(synthetic_log())] == [*names, ratio]
    assert [picture.name for picture in pictures.draw(synthetic_log(nan_count=1))] == [*names, "nonfinite", ratio]
    assert pictures.draw(synthetic_log(grad_norm=None, update_norm=None)) == ()
    assert pictures.draw(Log()) == ()


def test_user_style_does_not_reach_the_pictures(log):
    import matplotlib

    plain = pictures.draw(log)
    with matplotlib.rc_context({"lines.linewidth": 9, "figure.facecolor": "red"}):
        assert pictures.draw(log) == plain
        assert matplotlib.rcParams["lines.linewidth"] == 9


def test_a_failing_picture_is_a_note_in_its_place(log, diagnosis, monkeypatch):
    def fail(log, ax):
        raise ValueError("no <ink>")

    monkeypatch.setattr(plots, "norms", fail)
    page = Elements(report(log, diagnosis).to_html())
    assert "The picture “norms” could not be drawn: ValueError: no <ink>" in page.text
    assert "Gradient norm by depth" in page.text


@pytest.mark.parametrize("make", [Log, lambda: synthetic_log(num_steps=0), lambda: synthetic_log(num_steps=1)])
def test_small_logs(make):
    assert Elements(report(make()).to_html()).open == []


def test_healthy_and_unknown():
    assert 'class="gw-verdict gw-healthy"' in report(synthetic_log()).to_html()
    assert 'class="gw-verdict gw-unknown"' in report(Log(), Diagnosis()).to_html()


@pytest.mark.slow
def test_300_variables_and_a_million_records_stay_under_3_megabytes():
    steps = 1_000_000 // 300 + 1
    variables = {f"model/block_{i}/attention/dense/kernel": (8, 8) for i in range(300)}
    norm = np.exp(np.random.default_rng(0).normal(size=(steps, 300)))
    ratios = {"weight_norm": 1.0, "update_norm": norm / 1000}
    log = synthetic_log(num_steps=steps, variables=variables, grad_norm=norm, nan_count=norm > 15, **ratios)
    assert len(log) >= 1_000_000
    page = report(log, diagnose(log)).to_html()
    assert len(page.encode()) < 3_000_000
    assert page.count('<tr id="variable-') == 300
    assert page.count('class="gw-spark"') == 300
    assert page.count('class="gw-picture"') == 5


def test_the_page_allows_its_own_script_only(log, diagnosis):
    page = report(log, diagnosis).to_html()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="(.*?)">', page)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")


def test_links_lead_to_what_is_there(log, diagnosis):
    page = report(log, diagnosis).to_html()
    targets = re.findall(r'href="#([^"]*)"', re.sub(r"<figure>.*?</figure>", "", page, flags=re.DOTALL))
    assert {"variables", "found", "causes", "pictures", "skipped", "variable-1", "variable-2"} <= set(targets)
    assert set(targets) <= set(re.findall(r' id="([^"]*)"', page))


def test_a_fragment_has_no_links_for_a_second_one_has_the_same_places(log, diagnosis):
    fragment = Elements(html.fragment(content.gather(log, diagnosis)))
    assert not {"href", "id"} & {name for name, _ in fragment.attributes}
    assert "main" not in fragment.tags


def test_more_variables_than_rows():
    variables = {f"dense_{i}/kernel": (2, 2) for i in range(content.MAX_ROWS + 1)}
    text = Elements(html.page(content.gather(synthetic_log(num_steps=2, variables=variables), Diagnosis()))).text
    assert "Shown are 1000 of 1001" in text
