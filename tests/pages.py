"""What a browser would read of a card."""

import re
from html.parser import HTMLParser

VOID = ("path", "br", "wbr")


class Page(HTMLParser):
    """The tags of a page, the text outside of its style, and what was left open."""

    def __init__(self, text):
        super().__init__()
        self.source, self.tags, self.open, self._parts = text, [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th", "p"):
            self._parts.append(" ")

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self._parts.append(data)

    @property
    def text(self):
        return " ".join("".join(self._parts).split())

    @property
    def selectors(self):
        """Every selector of its style."""
        styles = re.findall(r"<style>(.*?)</style>", self.source, re.DOTALL)
        found = re.findall(r"(?:^|[{}])\s*([^@{}\s][^{}]*)\{", "".join(styles))
        return [part.strip() for selector in found for part in selector.split(",")]
