from markdown_it import MarkdownIt

from gradwatch.diagnosis import Diagnosis
from gradwatch.log import Log
from gradwatch.reporting import markdown, report
from gradwatch.testing import synthetic_log


def test_golden(log, diagnosis, golden):
    golden(report(log, diagnosis).to_markdown(), "report.md")


def test_nothing_from_the_log_acts_as_markup(log, diagnosis):
    rendered = MarkdownIt("commonmark").enable("table").render(report(log, diagnosis).to_markdown())
    assert "<script>" not in rendered
    assert "<i>" not in rendered
    assert "<em>" not in rendered
    assert "&lt;script&gt;alert(1)&lt;/script&gt;/kernel" in rendered
    assert "<code>a|b`c/kernel</code>" in rendered


def test_tables_are_tables(log, diagnosis):
    rendered = MarkdownIt("commonmark").enable("table").render(report(log, diagnosis).to_markdown())
    assert rendered.count("<table>") == 2
    assert rendered.count("<tbody>") == 2
    assert rendered.split("<tbody>")[2].count("<tr>") == 5


def test_code_between_backticks_stays_code():
    assert markdown.prose("use `tf.maximum(x, 1)` *now*") == r"use `tf.maximum(x, 1)` \*now\*"


def test_line_breaks_cannot_start_a_block():
    assert markdown.prose("one\n\n- two\n# three") == r"one - two \# three"


def test_many_variables_are_cut_short():
    variables = {f"dense_{i}/kernel": (2, 2) for i in range(300)}
    text = report(synthetic_log(num_steps=2, variables=variables), Diagnosis()).to_markdown()
    assert "Shown are 30 of 300 variables." in text
    assert text.count("| `dense_") == 30


def test_empty():
    assert "none recorded" in report(Log(), Diagnosis()).to_markdown()
