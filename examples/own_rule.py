"""A rule of one's own: a layer whose gradient is mostly noise, with its test.

gradwatch has no such rule, because how much noise is right depends on the batch size and the task. In a project where
that is known, a rule is a dozen lines: a frozen dataclass that is called on a log. It goes to the watch, to `diagnose`
and to `fail_fast` like those that come with gradwatch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import digits
import quickstart

import gradwatch
from gradwatch.rules import Finding, Rule, Severity, Skip
from gradwatch.testing import findings_of, synthetic_log


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisyGradient(Rule):
    """The gradient norm of a layer scatters by more than `spread` times its median over the last `window` steps.

    The scatter is the distance between the quartiles: single spikes do not count.

    Args:
        spread: Scatter, against the median, above which a layer is reported.
        window: Number of last recorded steps to judge.
    """

    code: ClassVar[str] = "ME001"
    severity: ClassVar[Severity] = Severity.WARNING
    title: ClassVar[str] = "a gradient is mostly noise"
    remedy: ClassVar[str] = "Use a larger batch, or accumulate gradients (`gradient_accumulation_steps`)."

    spread: float = 2.0
    window: int = 50

    def check(self, log: gradwatch.Log) -> Iterator[Finding]:
        """Yields one finding per noisy layer; its value is the scatter against the median."""
        if log.num_steps < self.window:
            raise Skip(f"Too few steps: needs {self.window}, the log has {log.num_steps}.")
        norms = log.layers().pivot(index="step", columns="layer", values="grad_norm").tail(self.window)
        low, middle, high = norms.quantile([0.25, 0.5, 0.75]).to_numpy()
        for layer, scatter in zip(norms.columns, (high - low) / middle, strict=True):
            if scatter > self.spread:
                yield self.finding(
                    f"The gradient norm of {layer} scatters by {scatter:.1f} times its median.",
                    layers=[layer],
                    steps=(norms.index[0], norms.index[-1]),
                    value=scatter,
                    threshold=self.spread,
                )


def test_a_hit_and_a_miss() -> None:
    """What a test of a rule looks like: a made-up log with the fault, and one without."""
    norms = [0.01 if step % 2 else 1.0 for step in range(60)]
    (finding,) = findings_of(NoisyGradient(spread=1.5), synthetic_log(grad_norm={"dense/kernel": norms}))
    assert finding.layers == ("dense",)
    assert findings_of(NoisyGradient(), synthetic_log()) == ()


def train() -> gradwatch.GradientWatch:
    """Trains with the rule beside those of gradwatch."""
    watch = gradwatch.GradientWatch(rules=(*gradwatch.RULES, NoisyGradient()))
    quickstart.build_model().fit(*digits.load(), epochs=2, verbose=0, callbacks=[watch])
    return watch


if __name__ == "__main__":
    test_a_hit_and_a_miss()
    print(train().diagnosis)
