"""A run at a glance, in a notebook: the card of a watch, and the live view."""

from gradwatch.glance.card import card, line
from gradwatch.glance.live import LiveView

__all__ = ["LiveView", "card", "line"]
