import re

import numpy as np
import pytest
from markdown_it import MarkdownIt

from gradwatch import compare
from gradwatch.reporting import pictures
from gradwatch.testing import synthetic_log

NAMES = ("runs/<yesterday>", "runs/today")


@pytest.fixture
def comparison():
    counts = np.where(np.arange(60) >= 40, 2, 0)
    return compare(
        synthetic_log(zero_fraction={"dense/kernel": 1.0, "dense/bias": 1.0}),
        synthetic_log(nan_count={"head/kernel": counts}),
        names=NAMES,
    )


def words(html):
    text = re.sub(r"<(style|script)>.*?</\1>|<svg.*?</svg>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_the_report_of_b_says_what_differs_from_a(comparison):
    text = words(comparison.report().to_html())
    places = [
        text.index(part)
        for part in (
            "Not healthy",
            "What was found",
            "Compared with runs/&lt;yesterday&gt;",
            comparison.verdict,
            "Here a is runs/&lt;yesterday&gt; , and b is runs/today , the run of this report.",
            "Found in b only Error NonFiniteGradient GW201, steps 40 to 59",
            "Found in a only Error"
            if "Found in a only Error" in text
            else "Found in a only Warning ZeroGradient GW103",
            "norm in a norm in b b / a parts at step",
            "dense 0 0.04 Inf 0",
            "Above, look for the step",
            "Variables, worst first",
        )
    ]
    assert places == sorted(places)


def test_runs_without_names(comparison):
    text = words(compare(*comparison.logs).report().to_html())
    assert "Compared with another run" in text
    assert "Here a is the other run, and b is the one of this report." in text


def test_runs_that_are_the_same():
    made = compare(synthetic_log(), synthetic_log()).report()
    text = words(made.to_html())
    assert "The runs do not differ in the 60 recorded steps that both have." in text
    assert "Nothing is found in one of them only." in text
    assert text.count("never") == 2
    assert "Nothing is found in one of them only." in made.to_markdown()


def test_markdown_has_the_table_and_no_markup_of_a_name(comparison):
    rendered = MarkdownIt("commonmark").enable("table").render(comparison.report().to_markdown())
    assert "<h2>Compared with runs/&lt;yesterday&gt;</h2>" in rendered
    assert "<code>runs/&lt;yesterday&gt;</code>" in rendered
    assert "<yesterday>" not in rendered
    table = rendered.split("<table>")[1]
    assert re.findall(r"<td[^>]*>(.*?)</td>", table)[:5] == ["<code>dense</code>", "0", "0.04", "Inf", "0"]


def test_markdown_leaves_out_layers_and_says_so():
    variables = {f"dense_{number}/kernel": (2, 2) for number in range(12)}
    text = compare(synthetic_log(), synthetic_log(variables=variables)).report().to_markdown()
    assert "Shown are the 10 of 14 layers that differ most." in text


def test_shows_itself_in_a_notebook(comparison):
    html = comparison._repr_html_()
    text = words(html)
    assert text.startswith("Two runs compared")
    assert "Here a is runs/&lt;yesterday&gt; , and b is runs/today ." in text
    assert "run of this report" not in text
    assert html.count("gw-picture") == 1 + re.search(r"<style>.*?</style>", html, re.DOTALL)[0].count("gw-picture")
    assert " id=" not in re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL)


def test_a_picture_that_fails_is_a_note(comparison, monkeypatch):
    def fail(*args):
        raise ValueError("no ink")

    monkeypatch.setattr(pictures, "fill_side_by_side", fail)
    assert "The picture “side_by_side” could not be drawn: ValueError: no ink" in words(comparison._repr_html_())
