"""The report as HTML: a page of its own, or a part of a notebook."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

import jinja2
from markupsafe import Markup

from gradwatch.notebook import words
from gradwatch.reporting import sparkline
from gradwatch.reporting.compared import Compared, legend
from gradwatch.reporting.content import Content, evidence_text, severity_text, steps_text
from gradwatch.reporting.pictures import Picture
from gradwatch.reporting.table import count, number, share


def page(content: Content, pictures: Sequence[Picture] = (), both: Picture | None = None) -> str:
    """A whole page that needs no other file and no network, and tells the browser to allow none.

    Args:
        content: What to say.
        pictures: What to show.
        both: The picture of two runs, if they are compared.
    """
    return _rendered("page.html.j2", own=True, **_of_report(content, pictures, both))


def fragment(content: Content, pictures: Sequence[Picture] = (), both: Picture | None = None) -> str:
    """The same for a notebook: one element, with style that touches nothing outside of it.

    Args:
        content: What to say.
        pictures: What to show.
        both: The picture of two runs, if they are compared.
    """
    return _rendered("fragment.html.j2", own=False, **_of_report(content, pictures, both))


def comparison(compared: Compared, both: Picture | None = None) -> str:
    """What differs between two runs, for a notebook.

    Args:
        compared: What to say.
        both: The picture of both.
    """
    return _rendered("comparison.html.j2", own=False, compared=compared, both=both)


def breakable(path: str) -> Markup:
    """A path that a browser may break after a slash.

    >>> breakable("block/<b>")
    Markup('block/<wbr>&lt;b&gt;')
    """
    return Markup("/<wbr>").join(path.split("/"))


def anchor(name: str, own: bool) -> Markup:
    """The attribute by which links find an element; none in a notebook, where a second report would have the same.

    >>> anchor("run", True), anchor("run", False)
    (Markup(' id="run"'), Markup(''))
    """
    return Markup(' id="{}"').format(name) if own else Markup("")


def to_row(path: str, places: Mapping[str, int]) -> Markup:
    """A variable as code, with a link to its row if that has one.

    >>> to_row("a/b", {"a/b": 3}), to_row("a/b", {})
    (Markup('<a href="#variable-3"><code>a/b</code></a>'), Markup('<code>a/b</code>'))
    """
    code = Markup("<code>{}</code>").format(path)
    return Markup('<a href="#variable-{}">{}</a>').format(places[path], code) if path in places else code


def _of_report(content: Content, pictures: Sequence[Picture], both: Picture | None) -> dict[str, object]:
    return {"content": content, "pictures": pictures, "both": both}


def _rendered(template: str, *, own: bool, **values: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gradwatch.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "anchor": anchor,
        "breakable": breakable,
        "count": count,
        "evidence": evidence_text,
        "legend": legend,
        "number": number,
        "share": share,
        "severity": severity_text,
        "spark": sparkline.svg,
        "steps": steps_text,
        "to_row": to_row,
        "words": words,
    }
    script = environment.get_template("table.js").render()
    # The page allows this one script and no other, whatever may have come into it with the log.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    values |= {"own": own, "script": Markup(script), "script_hash": Markup(f"sha256-{digest}")}
    return environment.get_template(template).render(values)
