"""A report of a run: what was found, in words, a table and pictures, as HTML or Markdown."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gradwatch.diagnosis import Diagnosis, diagnose
from gradwatch.log import Log
from gradwatch.reporting.compared import Compared

if TYPE_CHECKING:
    from gradwatch.reporting import content, pictures

__all__ = ["Report", "report"]


@dataclasses.dataclass(frozen=True)
class Report:
    """What there is to say about a run; shows itself in a notebook.

    Args:
        log: What was recorded.
        diagnosis: What was found in it.
        compared: What differs from another run; `gradwatch.compare(other, log).report()` makes such a report.
    """

    log: Log
    diagnosis: Diagnosis
    compared: Compared | None = None

    def to_html(self) -> str:
        """The report as one HTML page that needs nothing else: no network, no other file."""
        from gradwatch.reporting import html, pictures

        return html.page(self._content(), pictures.draw(self.log), self._both())

    def to_markdown(self) -> str:
        """The report as Markdown, with tables and without pictures."""
        from gradwatch.reporting import markdown

        return markdown.page(self._content())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the report; directories on the way are made.

        Args:
            path: Where to; `.html` or `.htm` for HTML, `.md` or `.markdown` for Markdown.

        Raises:
            ValueError: If the name ends in something else.
            OSError: If it cannot be written.
        """
        target = Path(path)
        formats = {".html": self.to_html, ".htm": self.to_html, ".md": self.to_markdown, ".markdown": self.to_markdown}
        if target.suffix.lower() not in formats:
            raise ValueError(
                f"Unknown report format. Received: {os.fspath(path)!r}. Give a name that ends in .html or .md."
            )
        text = formats[target.suffix.lower()]()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def _repr_html_(self) -> str:
        from gradwatch.reporting import html, pictures

        return html.fragment(self._content(), pictures.draw(self.log), self._both())

    def _content(self) -> content.Content:
        from gradwatch.reporting import content  # with Matplotlib below it, which only a report needs

        return content.gather(self.log, self.diagnosis, self.compared)

    def _both(self) -> pictures.Picture | None:
        from gradwatch.reporting import pictures

        return None if self.compared is None else pictures.draw_both(*self.compared.logs, self.compared.names)

    def __str__(self) -> str:
        return str(self.diagnosis)

    def __repr__(self) -> str:
        return f"<gradwatch.Report of {self.log!r}; show it in a notebook, or .save('report.html')>"


def report(log: Log, diagnosis: Diagnosis | None = None) -> Report:
    """Makes the report of a log.

    Args:
        log: What was recorded.
        diagnosis: What was found in it; `diagnose(log)` by default.

    Returns:
        The report: the last value of a notebook cell shows it, `save("report.html")` writes it.

    >>> from gradwatch.testing import synthetic_log
    >>> print(report(synthetic_log()).to_markdown().splitlines()[0])
    # Gradient report
    """
    if not isinstance(log, Log):
        raise TypeError(f"`log` must be a gradwatch Log. Received: {log!r}. Use `watch.log` or `gradwatch.load(path)`.")
    return Report(log, diagnose(log) if diagnosis is None else diagnosis)
