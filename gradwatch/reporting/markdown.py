"""The report as Markdown, for a pull request, a job's summary or a terminal."""

from __future__ import annotations

import re

import jinja2

from gradwatch.reporting import sparkline
from gradwatch.reporting.compared import legend
from gradwatch.reporting.content import Content, evidence_text, severity_text, steps_text
from gradwatch.reporting.table import count, number, share

MAX_ROWS = 30
MAX_LAYERS = 10


def page(content: Content) -> str:
    """The report as Markdown (CommonMark with tables); nothing out of the log can act as markup.

    Args:
        content: What to say.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gradwatch.reporting"),
        autoescape=False,  # Markdown is not HTML: every value goes through `prose` or `code`
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "code": code,
        "count": count,
        "evidence": evidence_text,
        "legend": legend,
        "number": number,
        "share": share,
        "prose": prose,
        "severity": severity_text,
        "spark": sparkline.text,
        "steps": steps_text,
    }
    return environment.get_template("report.md.j2").render(content=content, max_rows=MAX_ROWS, max_layers=MAX_LAYERS)


def prose(text: str) -> str:
    r"""Text of which nothing acts as Markdown or HTML but code between backticks, in one line.

    >>> prose("a *b* <script> in dense_1")
    'a \\*b\\* \\<script\\> in dense_1'
    """
    before, *rest = re.split("`([^`]+)`", text, maxsplit=1)
    if rest:
        return f"{prose(before)}{code(rest[0])}{prose(rest[1])}"
    text = re.sub(r"([\\`*\[\]<>|#&~])", r"\\\1", re.sub(r"\s+", " ", text))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def code(text: str) -> str:
    r"""Text as code, in one line, also in a table.

    >>> code("dense|1"), code("a`b")
    ('`dense\\|1`', '`` a`b ``')
    """
    text = " ".join(str(text).split()).replace("|", "\\|")
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (1 + max(len(run) for run in re.findall("`+", text)))
    return f"{fence} {text} {fence}"
