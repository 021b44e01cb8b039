"""Makes the pictures, the quoted findings and the tables of thresholds of docs/rules from real runs.

Each rule has a program that shows it: one of the benchmark, or one of this module. No program that is held back
is taken. What stands between markers in a page is replaced, all else is written by hand.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import pathlib
import re
import textwrap
import warnings
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import keras
import numpy as np
import tensorflow as tf
from keras import layers
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import gradwatch
from benchmarks.faults import recording
from benchmarks.faults.program import FAULTY, Program, Run
from benchmarks.faults.programs import own_data
from gradwatch import plots, rules
from gradwatch.plots import canvas

ROOT = pathlib.Path(__file__).parents[2]
PAGES = ROOT / "docs" / "rules"
SEED = 0
DPI = 100
CROSS_ENTROPY = "sparse_categorical_crossentropy"

Draw = Callable[[gradwatch.Log, Run, Axes], Any]


@dataclasses.dataclass(frozen=True)
class Shown:
    """What shows a rule.

    Args:
        program: The name of the program.
        draw: Draws the picture into axes.
        height: Height of the picture in inches; it is 8 inches wide.
    """

    program: str
    draw: Draw
    height: float = 3.2


def page_of(rule: gradwatch.Rule) -> pathlib.Path:
    """The page of a rule: docs/rules/GW101-vanishing-gradient.md."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", rule.name).lower()
    return PAGES / f"{rule.code}-{words}.md"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", "codes", metavar="CODE", multiple=True, help="Only these rules, by code or name.")
def main(codes: tuple[str, ...]) -> None:
    """Runs the programs and renews the pages; the exit status is 1 if a rule was not found in its run."""
    tf.config.threading.set_intra_op_parallelism_threads(1)  # sums are then the same, however busy the machine is
    failed = []
    for rule in gradwatch.RULES:
        if codes and not {rule.code, rule.name} & set(codes):
            continue
        missed = _renew(rule)
        click.echo(f"{rule.code} {rule.name}: {missed or 'done'}")
        failed += [rule.code] if missed else []
    raise SystemExit(bool(failed))


def _renew(rule: gradwatch.Rule) -> str | None:
    """Renews what is made of one page; returns why not, if so."""
    shown, page = SHOWN[rule.name], page_of(rule)
    program = OWN.get(shown.program) or recording.find(shown.program)
    watch = gradwatch.GradientWatch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GradientWarning among them: it is quoted
        run = program.run(SEED, [watch])
        watch.close()
    diagnosis = watch.diagnosis
    quoted = [block for block in str(diagnosis).split("\n\n") if f" {rule.code} {rule.name}" in block.split("\n")[0]]
    if not quoted:
        return f"not found in {program.name}, only {[finding.rule for finding in diagnosis.findings]}"
    figure = Figure(figsize=(8.0, shown.height), dpi=DPI, layout="constrained")
    shown.draw(watch.log, run, figure.add_subplot())
    figure.savefig(page.with_suffix(".png"), metadata={"Software": None})
    source = pathlib.Path(inspect.getsourcefile(program.train) or "").resolve().relative_to(ROOT)
    text = page.read_text()
    text = _replaced(text, "thresholds", threshold_table(rule))
    text = _replaced(
        text,
        "example",
        f"![{rule.code} in a run of {program.name}]({page.with_suffix('.png').name})\n\n"
        + textwrap.fill(f"*[`{program.name}`](../../{source}), seed {SEED}: {program.about}*", 120)
        + f"\n\n```text\n{quoted[0]}\n```",
    )
    page.write_text(text)
    return None


def _replaced(text: str, marker: str, content: str) -> str:
    pattern = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- end of {marker} -->)", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise click.ClickException(
            f"A page needs `<!-- {marker} -->` and `<!-- end of {marker} -->` once: {text[:60]!r}"
        )
    return pattern.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def threshold_table(rule: gradwatch.Rule) -> str:
    """The thresholds of a rule with their defaults, in the words of its docstring."""
    fields = dataclasses.fields(rule)
    if not fields:
        return "It has no threshold."
    about = inspect.cleandoc(type(rule).__doc__ or "").partition("Args:\n")[2].partition("\n\n")[0]
    meanings = {
        name: " ".join(text.split()) for name, text in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", about, re.MULTILINE)
    }
    rows = [f"| `{field.name}` | {field.default:g} | {meanings[field.name]} |" for field in fields]
    return "\n".join(["| threshold | default | what it is |", "| --- | --- | --- |", *rows])


def signal(name: str, title: str, *, threshold: float | None = None, log_scale: bool = False) -> Draw:
    """Draws a number that is taken on a schedule, a line for each layer that has it.

    Args:
        name: A name that `Log.wide` knows.
        title: The title.
        threshold: The threshold of the rule, drawn as a dotted line.
        log_scale: Whether the y axis is logarithmic.
    """

    def draw(log: gradwatch.Log, run: Run, ax: Axes) -> None:
        table = log.wide(name).dropna(how="all").dropna(how="all", axis=1)
        names = canvas.short_names([column.rpartition("/")[0] for column in table.columns])
        for place, (label, column) in enumerate(zip(names, table.columns, strict=True)):
            style = {"color": canvas.PALETTE[place % 5], "linestyle": canvas.STYLES[place // 5 % 2]}
            ax.plot(table.index, table[column], label=label, marker=".", **style)
        if threshold is not None:
            ax.axhline(threshold, color=canvas.MUTED, linestyle=":", label="threshold")
        if log_scale:
            ax.set_yscale("log")
        _finish(ax, title, table.index)

    return draw


def of_steps(name: str, title: str, *, log_scale: bool = False) -> Draw:
    """Draws a column of `Log.steps`, with crosses at the steps at which it is NaN or Inf."""

    def draw(log: gradwatch.Log, run: Run, ax: Axes) -> None:
        table = log.steps()
        values = table[name].astype("float64")
        finite = np.isfinite(values)
        ax.plot(table["step"][finite], values[finite], color=canvas.PALETTE[0], label=name.replace("_", " "))
        canvas.mark_top(ax, table["step"][~finite], canvas.ALARM_LABEL)
        if log_scale:
            ax.set_yscale("log")
        _finish(ax, title, table["step"])

    return draw


def weight_norms(log: gradwatch.Log, run: Run, ax: Axes) -> None:
    """Draws the norms of the weights, with crosses where one is NaN."""
    table = log.wide("weight_norm")
    table = table[table.notna().any(axis=1)]
    for color, (name, values) in zip(canvas.PALETTE, table.items(), strict=False):
        bad = ~np.isfinite(values)
        ax.plot(values.index, values, color=color, marker=".", label=name + (" (NaN)" if bad.any() else ""))
        canvas.mark_top(ax, values.index[bad], "")
    _finish(ax, "Norm of each weight; crosses: NaN", table.index)


def bad_entries(log: gradwatch.Log, run: Run, ax: Axes) -> None:
    """Draws how many entries of each batch are NaN or Inf, and marks the steps whose gradients are."""
    steps = np.concatenate([segment.steps["step"] for segment in log.segments])
    counts = np.concatenate([segment.steps["nonfinite_inputs"] for segment in log.segments])
    ax.bar(steps, counts, color=canvas.PALETTE[0], label="in the batch")
    canvas.mark_top(ax, log.steps()["step"][~np.isfinite(log.steps()["global_norm"])], "in the gradient")
    ax.set_ylim(0, 1.4 * counts.max())
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(ax, "Entries that are NaN or Inf", steps)


def history(log: gradwatch.Log, run: Run, ax: Axes) -> None:
    """Draws what `fit` returned, epoch by epoch."""
    for color, (name, values) in zip(canvas.PALETTE, run.history.items(), strict=False):
        ax.plot(range(len(values)), values, color=color, marker=".", label=name)
    _finish(ax, "What fit returned; of gradients there are none", range(2))
    ax.set_ylim(bottom=0)
    ax.set_xlabel("epoch")


def _finish(ax: Axes, title: str, steps: Any) -> None:
    ax.set_title(title, loc="left")
    ax.margins(x=0.01)
    canvas.step_axis(ax, np.asarray(steps))
    canvas.legend(ax)


def _by(plot: Callable[..., Any], **options: Any) -> Draw:
    return lambda log, run, ax: plot(log, ax, **options)


def train_short_decay(run: Run) -> None:
    """Classifies digits; the decay is told the steps of one epoch in place of those of all."""
    x, y = own_data.digit_rows()
    model = keras.Sequential(
        [keras.Input((64,)), layers.Dense(32, "relu", name="hidden"), layers.Dense(10, "softmax", name="classes")]
    )
    rate = keras.optimizers.schedules.PolynomialDecay(1e-1, decay_steps=len(x) // 32, end_learning_rate=0.0)
    model.compile(keras.optimizers.SGD(rate), CROSS_ENTROPY, jit_compile=False)
    run.fit(model, x, y, epochs=30, batch_size=32)


def train_heavy_momentum(run: Run) -> None:
    """Fits the direction in which tumours differ most, with so much momentum that it overshoots again and again."""
    x, _ = own_data.tumours()
    y = x @ np.linalg.svd(x, full_matrices=False)[2][:1].T
    model = keras.Sequential([keras.Input((30,)), layers.Dense(1, kernel_initializer="zeros", name="direction")])
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.99), "mse", jit_compile=False)
    run.fit(model, x, y.astype("float32"), epochs=300, batch_size=len(x))


def train_shuffled_labels(run: Run) -> None:
    """Tells benign tumours by labels that have nothing to do with the rows."""
    x, y = own_data.tumours()
    small = keras.initializers.RandomNormal(stddev=0.05)
    model = keras.Sequential(
        [
            keras.Input((30,)),
            layers.Dense(16, "tanh", name="hidden"),
            layers.Dense(1, "sigmoid", kernel_initializer=small, name="benign"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01), "binary_crossentropy", jit_compile=False)
    run.fit(model, x, run.rng.integers(0, 2, y.shape).astype("float32"), epochs=10, batch_size=32)


class KernelsOnly(keras.Model):
    """A classifier whose step was to decay kernels and not biases, and gives its optimizer no bias at all."""

    def __init__(self) -> None:
        super().__init__(name="classifier")
        self.hidden = layers.Dense(32, "relu", name="hidden")
        self.classes = layers.Dense(10, "softmax", name="classes")

    def call(self, x: Any) -> Any:
        """Returns the probabilities of the classes."""
        return self.classes(self.hidden(x))

    def train_step(self, data: Any) -> dict[str, Any]:
        """Follows the gradient of the kernels."""
        x, y = data
        kernels = [variable for variable in self.trainable_variables if "kernel" in variable.path]
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=x, y=y, y_pred=self(x, training=True))
        self.optimizer.apply(tape.gradient(loss, kernels), kernels)
        return {"loss": loss}


def train_kernels_only(run: Run) -> None:
    """Classifies digits by kernels alone."""
    x, y = own_data.digit_rows()
    model = KernelsOnly()
    model(x[:1])
    model.compile(keras.optimizers.AdamW(3e-3), CROSS_ENTROPY, jit_compile=False)
    run.fit(model, x, y, epochs=4, batch_size=32)


def _own(train: Callable[[Run], None], name: str, about: str) -> Program:
    return Program(name=name, kind=FAULTY, about=about, train=train, symptom=lambda run: True)


OWN = {
    program.name: program
    for program in (
        _own(
            train_short_decay,
            "short_decay",
            "The decay of the learning rate is told the steps of one epoch; in the 29 that follow the rate is 0.",
        ),
        _own(
            train_heavy_momentum,
            "heavy_momentum",
            "A momentum of 0.99 carries the weights past the target, and back, again and again.",
        ),
        _own(
            train_shuffled_labels,
            "random_labels",
            "The labels have nothing to do with the rows, as after a shuffle of one and not the other.",
        ),
        _own(
            train_kernels_only,
            "kernels_only",
            "A training step picks the variables with `kernel` in their path, and the biases are never trained.",
        ),
    )
}
"""Programs that show a rule that none of the benchmark shows, but for those that are held back."""

SHOWN = {
    "VanishingGradient": Shown("twelve_small_sigmoids", _by(plots.depth_profile), 4.0),
    "ExplodingGradient": Shown("zhang_ips17_quadratic_features", _by(plots.norms)),
    "ZeroGradient": Shown("zero_kernels", _by(plots.heatmap)),
    "DeadUnits": Shown(
        "convolutions_rate_one", signal("dead_fraction", "Share of dead units", threshold=rules.DeadUnits.share)
    ),
    "SaturatedActivation": Shown(
        "large_tanh_kernels",
        signal("saturation", "Share of activations on flat parts", threshold=rules.SaturatedActivation.share),
    ),
    "NonFiniteGradient": Shown("keras9097_siamese_sqrt_zero", _by(plots.nonfinite), 2.4),
    "NonFiniteLoss": Shown("cross_entropy_bare_log", of_steps("loss", "Loss of each batch")),
    "NonFiniteWeight": Shown("unit_rows_of_padding", weight_norms),
    "LossScaleCollapse": Shown("sharp_likelihood_half_precision", of_steps("loss_scale", "Loss scale", log_scale=True)),
    "NonFiniteInput": Shown("missing_values", bad_entries, 2.6),
    "UpdateTooLarge": Shown("zhang_ips5_linear_regression_diverges", _by(plots.update_ratio)),
    "UpdateTooSmall": Shown("tumours_tiny_rate", _by(plots.update_ratio)),
    "UnchangedVariable": Shown("short_decay", _by(plots.update_ratio)),
    "UnstableLoss": Shown("heavy_momentum", of_steps("loss", "Loss of each batch", log_scale=True)),
    "StalledLoss": Shown("random_labels", of_steps("loss", "Loss of each batch")),
    "DetachedVariable": Shown("stopped_encoder", _by(plots.heatmap)),
    "UnoptimizedVariable": Shown("kernels_only", _by(plots.heatmap)),
    "NoTrainableVariables": Shown("keras4674_frozen_model", history, 2.6),
    "InputScale": Shown(
        "raw_households",
        signal(
            "input_rms",
            "Root mean square of what each layer multiplies",
            threshold=rules.InputScale.inputs,
            log_scale=True,
        ),
    ),
    "OutputActivation": Shown("tumours_softmax_of_one", of_steps("loss", "Loss of each batch")),
}
"""What shows each rule, by its name."""


if __name__ == "__main__":
    main()
