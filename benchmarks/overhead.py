"""The price of watching: steps, whole fits and first steps, watched and unwatched, in one process and in turn.

Every variant has a model of its own, traced beforehand. Then they are timed in turn (A B C A B C ...), in blocks of
steps, and each block is compared with the unwatched one of its turn, so that a machine that is slow for a while is
slow for all. "unwatched again" is the same program as "unwatched": how far its ratio is from 1 and how wide it spreads
is the noise; a difference below it is no result.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import functools
import json
import multiprocessing
import os
import pathlib
import platform
import time
from collections.abc import Callable, Iterable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import rich.console
import rich.table
import tensorflow as tf

from benchmarks.models import MODELS
from benchmarks.variants import VARIANTS, Variant

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
STEPS_IN_BLOCK = 50
"""The steps between two drains: every block holds as much of a drain as a long run does."""

FEWEST_STEPS_IN_BLOCK = 10
"""Of a model whose steps take so long that a drain does not show beside them."""

SECONDS_IN_BLOCK = 0.2
"""Time that a block may take before it gets fewer steps: the shorter a turn, the less a machine changes within it."""

BLOCKS_IN_FIT = 2

FIRST_STEP_BOUND = 1.15


class Timed:
    """One variant of one model, traced and ready to be timed.

    Args:
        make: Makes the program.
        variant: The variant.
        jit_compile: Whether XLA compiles the step.
    """

    def __init__(self, make: Callable[[], Any], variant: Variant, jit_compile: bool) -> None:
        keras.utils.set_random_seed(0)
        program = make()
        self._model = program.model
        self._model.compile("adam", LOSS, jit_compile=jit_compile)
        variant.patch(self._model)
        self._data = tf.data.Dataset.from_tensors((program.x, program.y)).repeat()
        self._callbacks = variant.callbacks(program)
        start = time.perf_counter()
        with variant.around():
            self.fit(1)
        self.first_step = time.perf_counter() - start
        self._iterator = iter(self._data)
        self._list = keras.callbacks.CallbackList(self._callbacks, model=self._model)
        self._model.make_train_function()
        self._list.on_train_begin()
        self._list.on_epoch_begin(0)

    def steps(self, num_steps: int) -> float:
        """Seconds that so many steps take as `fit` makes them, with the callbacks of a batch and what they drain."""
        start = time.perf_counter()
        for step in range(num_steps):
            self._list.on_train_batch_begin(step)
            logs = self._model.train_function(self._iterator)
            self._list.on_train_batch_end(step, logs)
        self._wait()
        return time.perf_counter() - start

    def fit(self, num_steps: int) -> float:
        """Seconds that a whole `fit` of so many steps takes, callbacks, drains and all."""
        start = time.perf_counter()
        self._model.fit(self._data, steps_per_epoch=num_steps, verbose=0, shuffle=False, callbacks=self._callbacks)
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        """On a GPU a step is done when a weight can be read."""
        self._model.trainable_variables[0].numpy()


def in_turn(time_one: dict[str, Callable[[], float]], seconds: float) -> dict[str, list[float]]:
    """Seconds of each variant, turn by turn, after a turn that is not counted.  # {variant: [turns]}."""
    times: dict[str, list[float]] = {name: [] for name in time_one}
    for once in time_one.values():
        once()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["unwatched"]) < 3:
        for name, once in time_one.items():
            times[name].append(once())
    return times


def ratios(times: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median and quartiles of each variant's time over that of the unwatched run of its turn."""
    base = np.array(times["unwatched"])
    shares = {name: np.percentile(np.array(values) / base, [50, 25, 75]) for name, values in times.items()}
    return {name: dict(zip(("median", "low", "high"), map(float, q), strict=True)) for name, q in shares.items()}


def steps_in_block(plain: Timed) -> int:
    """Steps to be timed at once."""
    plain.steps(FEWEST_STEPS_IN_BLOCK)
    one = plain.steps(FEWEST_STEPS_IN_BLOCK) / FEWEST_STEPS_IN_BLOCK
    return int(np.clip(SECONDS_IN_BLOCK / one, FEWEST_STEPS_IN_BLOCK, STEPS_IN_BLOCK))


def measure(name: str, variants: Iterable[str], *, jit_compile: bool, seconds: float, repeats: int) -> dict[str, Any]:
    """All figures of one model."""
    chosen = {v: VARIANTS[v] for v in variants if VARIANTS[v].under_xla or not jit_compile}
    firsts: dict[str, list[float]] = {v: [] for v in chosen}
    Timed(MODELS[name], VARIANTS["unwatched"], jit_compile)  # what is slow once in a process
    for _ in range(repeats):
        keras.backend.clear_session()
        fits = {v: Timed(MODELS[name], variant, jit_compile) for v, variant in chosen.items()}
        for v, fit in fits.items():
            firsts[v].append(fit.first_step)
    block = steps_in_block(fits["unwatched"])
    times = in_turn({v: functools.partial(fit.steps, block) for v, fit in fits.items()}, seconds)
    whole = in_turn({v: functools.partial(fit.fit, BLOCKS_IN_FIT * block) for v, fit in fits.items()}, seconds / 2)
    return {
        "model": name,
        "jit_compile": jit_compile,
        "turns": len(times["unwatched"]),
        "steps_in_block": block,
        "milliseconds": {v: 1e3 * float(np.median(values)) / block for v, values in times.items()},
        "step": ratios(times),
        "fit": ratios(whole),
        "first_step_seconds": {v: float(np.median(values)) for v, values in firsts.items()},
        "first_step": ratios(firsts),
    }


def table(results: list[dict[str, Any]]) -> rich.table.Table:
    """The figures of one mode beside their bounds, a model a column; what is over a bound is marked."""
    mode = "jit_compile=True" if results[0]["jit_compile"] else "graph"
    shown = rich.table.Table(title=f"Times over those of an unwatched run, {mode}: median (quartiles)")
    for heading in ("", *(result["model"] for result in results), "median", "bound"):
        shown.add_column(heading, justify="left" if heading == "" else "right")
    shown.add_row("steps in a fit", *(str(BLOCKS_IN_FIT * result["steps_in_block"]) for result in results), "", "")
    shown.add_row("a step, unwatched", *(f"{result['milliseconds']['unwatched']:.2f} ms" for result in results), "", "")
    for kind, title in (
        ("step", "a step"),
        ("fit", "a short fit"),
        ("first_step", "the first step"),
    ):
        shown.add_section()
        for name in [v for v in VARIANTS if v != "unwatched" and any(v in result[kind] for result in results)]:
            bound = FIRST_STEP_BOUND if kind == "first_step" and name == "gradwatch" else None
            bound = VARIANTS[name].bound if kind == "step" else bound
            shares = [result[kind].get(name) for result in results]
            middle = float(np.median([share["median"] for share in shares if share]))
            cells = (_cell(share, bound) for share in shares)
            shown.add_row(f"{title}: {name}", *cells, f"{middle:.3f}", f"{bound:.2f}" if bound else "")
    return shown


def _cell(share: dict[str, float] | None, bound: float | None) -> str:
    if share is None:
        return "-"
    over = "!" if bound is not None and share["median"] > bound else ""
    return f"{share['median']:.3f}{over}\n({share['low']:.2f} to {share['high']:.2f})"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "devices": [device.device_type for device in tf.config.list_physical_devices()],
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
    }


def main() -> None:
    """Measures, prints a table for each mode, and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS), metavar="MODEL")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--modes", nargs="+", default=["graph", "xla"], choices=["graph", "xla"])
    parser.add_argument("--seconds", type=float, default=40.0, help="to time the steps of one model")
    parser.add_argument("--repeats", type=int, default=3, help="of each first step")
    parser.add_argument("--json", type=pathlib.Path, default=pathlib.Path("runs/bench/overhead.json"))
    options = parser.parse_args()
    variants = list(dict.fromkeys(["unwatched", *options.variants]))
    console = rich.console.Console(width=max(200, rich.console.Console().width))
    results: list[dict[str, Any]] = []
    options.json.parent.mkdir(parents=True, exist_ok=True)
    for mode in options.modes:
        for name in options.models:
            console.print(f"{name}, {mode}")
            jit = mode == "xla"
            how = {"jit_compile": jit, "seconds": options.seconds, "repeats": options.repeats}
            # In a process of its own: TensorFlow keeps what it has traced, and nine models do not fit into memory.
            with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                results.append(process.submit(measure, name, variants, **how).result())
            options.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=1))
        console.print(table([result for result in results if result["jit_compile"] == (mode == "xla")]))
    console.print(machine(), f"Wrote {options.json}.", "A ! marks what is over its bound.", sep="\n")


if __name__ == "__main__":
    main()
