"""How things show themselves in a notebook: templates, with one style that touches nothing outside of it.

The templates take plain values and know nothing of the rest of the house, so that a thing on any floor can have one.
All text and numbers take the colour of the page, so that they can be read in a light and in a dark theme, of Jupyter,
VS Code or Colab; where a page drops the style (GitHub does), headings, tables and lists are left.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup


def render(template: str, **content: Any) -> str:
    """Fills a template; every text in it is escaped.

    Args:
        template: Its name, without ".html.j2".
        **content: What stands in it.

    Returns:
        One HTML element.
    """
    return _environment().get_template(f"{template}.html.j2").render(content)


def words(text: str) -> Markup:
    """Text with what is between backticks as code; everything is escaped.

    >>> words("use `relu` < 1")
    Markup('use <code>relu</code> &lt; 1')
    """
    from markupsafe import Markup

    parts = re.split("`([^`]+)`", text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def number(value: float | None) -> str:
    """A number with three digits; a dash where there is none.

    >>> number(0.00012345), number(float("inf")), number(float("nan")), number(None)
    ('0.000123', 'Inf', 'NaN', '-')
    """
    if value is None:
        return "-"
    return f"{value:.3g}".replace("inf", "Inf").replace("nan", "NaN")


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2  # here, since a log is read more often than it is shown

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gradwatch.notebook"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": number, "words": words}
    return environment
