"""The report as HTML: a page of its own, or a part of a notebook."""

from __future__ import annotations

import re
from collections.abc import Sequence

import jinja2
from markupsafe import Markup

from gradwatch.reporting import sparkline
from gradwatch.reporting.content import Content, evidence_text, severity_text, steps_text
from gradwatch.reporting.pictures import Picture
from gradwatch.reporting.table import count, number, share


def page(content: Content, pictures: Sequence[Picture] = ()) -> str:
    """A whole page that needs no other file and no network.

    Args:
        content: What to say.
        pictures: What to show.
    """
    return _rendered("page.html.j2", content, pictures)


def fragment(content: Content, pictures: Sequence[Picture] = ()) -> str:
    """The same for a notebook: one element, with style that touches nothing outside of it.

    Args:
        content: What to say.
        pictures: What to show.
    """
    return _rendered("fragment.html.j2", content, pictures)


def breakable(path: str) -> Markup:
    """A path that a browser may break after a slash.

    >>> breakable("block/<b>")
    Markup('block/<wbr>&lt;b&gt;')
    """
    return Markup("/<wbr>").join(path.split("/"))


def words(text: str) -> Markup:
    """Text with what is between backticks as code; everything is escaped.

    >>> words("use `relu` < 1")
    Markup('use <code>relu</code> &lt; 1')
    """
    parts = re.split("`([^`]+)`", text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def _rendered(template: str, content: Content, pictures: Sequence[Picture]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gradwatch.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "breakable": breakable,
        "count": count,
        "evidence": evidence_text,
        "number": number,
        "share": share,
        "severity": severity_text,
        "spark": sparkline.svg,
        "steps": steps_text,
        "words": words,
    }
    return environment.get_template(template).render(content=content, pictures=pictures)
