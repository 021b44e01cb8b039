"""Puts the watch on optimizers, model and tapes for as long as a step runs, however many replicas run it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from gradwatch.recording import probe, tapes


class Attachment:
    """What stands on the program while a watched step runs.

    Args:
        on_apply: See `probe.probe`.
        on_loss: Hears each loss that the model computes.
        current_tapes: Gives the record of what the tapes do; see `tapes.listen`.
    """

    def __init__(
        self,
        on_apply: Callable[..., Any],
        on_loss: Callable[[Any], None],
        current_tapes: Callable[[], tapes.Tapes | None],
    ) -> None:
        self._on_apply = on_apply
        self._on_loss = on_loss
        self._current_tapes = current_tapes
        self._lock = threading.Lock()
        self._num_inside = 0
        self._standing: contextlib.ExitStack | None = None

    def put_on(self, model: Any, optimizers: dict[str, Any]) -> None:
        """To be called before a step, by each replica; the first one puts it on."""
        with self._lock:
            if self._num_inside == 0:
                with contextlib.ExitStack() as stack:
                    for name, optimizer in optimizers.items():
                        stack.enter_context(probe.probe(name, optimizer, self._on_apply))
                    if model is not None:
                        stack.enter_context(probe.listen(model, "compute_loss", self._on_loss))
                    if not tf.executing_eagerly():
                        stack.enter_context(tapes.listen(self._current_tapes))
                    self._standing = stack.pop_all()
            self._num_inside += 1

    def take_off(self) -> None:
        """To be called after a step, also when it raised; the last replica takes it off."""
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0 and self._standing is not None:
                self._standing.close()
                self._standing = None
