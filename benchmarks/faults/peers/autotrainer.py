"""The problems of AUTOTRAINER.

Zhang, Zhai, Ma, Shen: "AUTOTRAINER: An Automatic DNN Training Problem Detection and Repair System", ICSE 2021.

After each epoch it looks at the gradients of one batch and at the history. A gradient counts against a training only
where its accuracy is poor, and only the first problem is named, no layer. It is made for classification.
"""

from __future__ import annotations

import itertools

from benchmarks.faults.peers.evidence import NONFINITE, Judgement, Look, Recording, Verdict, gaps, is_bad

JUDGES_AFTER = 0.3
"""Share of the epochs after which the history is judged."""

VANISHING_RATIO, VANISHING_FIRST = 1e-3, 1e-4
"""The norm of the first kernel's gradient against that of the last one, and by itself."""

EXPLODING_RATIO = 70.0
HUGE_LOSS = 1e5
DYING_ZEROS = 0.7
SWING, SWINGING_EPOCHS = 0.03, 0.2
POOR_ACCURACY = 0.6
SLOW_GAIN = 0.01
ROW_SUMS_OFF = 1e-3


def judge(recording: Recording) -> Judgement:
    """What AUTOTRAINER says of a training.

    Args:
        recording: What was seen of it.

    Returns:
        Its verdict, one at the most.
    """
    looks = {look.epoch: look for look in recording.epoch_looks}
    seen: set[str] = set()
    reasons = list(gaps(recording))
    if all(epoch.accuracy is None for epoch in recording.epochs):
        reasons.append("what needs an accuracy: there is none")
    for number, epoch in enumerate(recording.epochs):
        look = looks.get(number)
        if _is_broken(look) or is_bad(epoch.loss) or (epoch.loss or 0) >= HUGE_LOSS:
            verdict = Verdict("exploding gradient: NaN or Inf", (*NONFINITE, "ExplodingGradient"))
            return Judgement((verdict,), tuple(reasons))
        if look is not None:
            seen |= _of_gradients(look)
        accuracies = [e.accuracy for e in recording.epochs[: number + 1] if e.accuracy is not None]
        if number + 1 < JUDGES_AFTER * recording.num_epochs or not accuracies:
            continue
        gains = [after - before for before, after in itertools.pairwise(accuracies)]
        slow = max(gains, default=0.0) < SLOW_GAIN
        found = _first(seen, slow, look, recording) if slow or max(accuracies) < POOR_ACCURACY else None
        if found is None and max(accuracies) >= POOR_ACCURACY and not slow and _swings(accuracies):
            found = Verdict("oscillating loss", ("UnstableLoss",))
        if found is not None:
            return Judgement((found,), tuple(reasons))
    return Judgement((), tuple(reasons))


def _is_broken(look: Look | None) -> bool:
    return look is not None and not all(v.finite and v.weights_finite for v in look.variables.values())


def _of_gradients(look: Look) -> set[str]:
    kernels, all_of_them = list(look.kernels.values()), list(look.with_grad.values())
    seen: set[str] = set()
    if not kernels:
        return seen
    zeros = sum(v.zeros * v.size for v in all_of_them) / sum(v.size for v in all_of_them)
    if zeros >= DYING_ZEROS:
        seen.add("dying")
    first, last = kernels[0].norm, kernels[-1].norm
    if last == 0:
        return seen
    if first / last < VANISHING_RATIO and first < VANISHING_FIRST:
        seen.add("vanishing")
    if first / last > EXPLODING_RATIO:
        seen.add("exploding")
    return seen


def _first(seen: set[str], slow: bool, look: Look | None, recording: Recording) -> Verdict | None:
    """The first problem of a training whose accuracy is poor, in the order in which the tool looks for them."""
    if "dying" in seen:
        return Verdict("dying ReLU", ("DeadUnits", "ZeroGradient"))
    if "exploding" in seen:
        return Verdict("exploding gradient", ("ExplodingGradient",))
    if "vanishing" in seen:
        return Verdict("vanishing gradient", ("VanishingGradient",))
    if look is not None and _is_improper(look, recording):
        return Verdict("improper activation", ("OutputActivation",))
    return Verdict("slow convergence", ("StalledLoss",)) if slow else None


def _is_improper(look: Look, recording: Recording) -> bool:
    """Whether the outputs are no probabilities although the loss takes them for such."""
    if recording.from_logits or "crossentropy" not in recording.loss:
        return False
    if recording.loss.startswith("binary"):
        return look.output_min < 0 or look.output_max > 1
    return look.row_sums_off > ROW_SUMS_OFF


def _swings(accuracies: list[float]) -> bool:
    inner = list(zip(accuracies, accuracies[1:], accuracies[2:], strict=False))
    peaks = [now for before, now, after in inner if now >= before and now >= after]
    troughs = [now for before, now, after in inner if now <= before and now <= after]
    swings = sum(peak - trough >= SWING for peak, trough in zip(peaks, troughs, strict=False))
    return swings >= SWINGING_EPOCHS * len(accuracies)
