"""The host's side of a watch: looks at the device now and then, keeps what it finds, judges it, tells, stops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gradwatch import records
from gradwatch.archive import Archive
from gradwatch.causes import Cause
from gradwatch.delivery import Delivery
from gradwatch.diagnosis import RECENT_STEPS, Diagnosis, diagnose
from gradwatch.errors import DetachedVariableError, GradientError, NonFiniteGradientError, own_failures, warn
from gradwatch.facts import Facts, nonfinite_variables
from gradwatch.log import Log
from gradwatch.options import Options
from gradwatch.postmortem import Postmortem, described
from gradwatch.process import close_at_exit, is_chief
from gradwatch.recording.held import Caught
from gradwatch.recording.ledger import STEPS_BETWEEN_DRAINS
from gradwatch.recording.session import Recorder
from gradwatch.recording.variables import trained_variables
from gradwatch.records import Segment
from gradwatch.reporting import Report, report
from gradwatch.rules import DetachedVariable
from gradwatch.sinks import ParquetSink
from gradwatch.store import Earlier
from gradwatch.telling import NONFINITE, Telling, error_for, words_of
from gradwatch.tracing import cuts

STEPS_BETWEEN_JUDGEMENTS = 200
"""Recorded steps after which all is judged although nothing in them is urgent and no rule may stop the run."""


class Watcher:
    """Keeps what a recorder drains, gives it to sinks, and judges it.

    Args:
        options: Checked options.

    Raises:
        OSError: If `run_dir` cannot be written.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.recorder = Recorder(
            statistics=options.statistics,
            every_steps=options.every_steps,
            detailed_every=options.detailed_every,
            sampled_every=options.sampled_every,
            samples_compiled=options.samples_compiled,
            counts_alarms=bool(options.guards or options.fail_fast),
            guards=options.guards,
            latches=options.latches,
            max_streak=options.max_consecutive_skips,
            keeps_bad_step=options.find_origin,
            find_cuts=cuts.answer,
            on_all_detached=self._all_detached,
        )
        self.facts = Facts(options)
        self._archive = Archive(self.recorder.table.ordered, self._info, num_recent=RECENT_STEPS)
        to_run_dir = ParquetSink(options.run_dir) if options.run_dir is not None and is_chief() else None
        self._delivery = Delivery(options.sinks, to_run_dir)
        self.refusal: DetachedVariableError | None = None
        self._telling = Telling()
        self._steps_since_drain: int | None = None
        self._unjudged_steps = 0
        self._is_urgent = False
        self._kinds: set[tuple] = set()
        self._nonfinite_variables: tuple[str, ...] = ()
        self._postmortem = Postmortem(self.recorder)
        self._alarms = 0
        self._closed = False
        self._settled = False
        close_at_exit(self)

    @property
    def last_step(self) -> int:
        """The last step that was taken from the device, -1 before the first; does not look at the device."""
        return self._archive.last_step

    @property
    def log(self) -> Log:
        """Everything recorded so far; looks at the device first."""
        with own_failures("reading the records"):
            self._drain()
        return self._archive.log()

    @property
    def diagnosis(self) -> Diagnosis:
        """The findings in everything recorded so far."""
        return diagnose(self.log, self.options.rules)

    def report(self) -> Report:
        """The report on everything recorded so far."""
        log = self.log
        return report(log, diagnose(log, self.options.rules))

    def start(self, model: Any, steps_at_once: int | None = None) -> None:
        """Begins a run of `fit`, or the only run of a loop.

        Args:
            model: The model, or `None`.
            steps_at_once: Steps between two calls of `look`; `None` if that is not known.
        """
        with own_failures("reading the records"):
            self._drain()
        self.recorder.start(steps_at_once or 1)
        self.facts.begin(model)
        self._alarms = 0
        self._steps_since_drain = None

    def settle(self, optimizers: Callable[[], Mapping[str, Any]]) -> None:
        """To be called before the first step: goes on with the run in the run directory if training goes on with it.

        It does where the optimizers have made updates before, and the variables are the same. Training that begins
        anew, such as the same script started once more, takes the place of that run.

        Args:
            optimizers: Gives the optimizers by name.
        """
        if self._settled:
            return
        self._settled = True
        with own_failures("looking for an earlier run"):
            named = optimizers() if self._delivery.has_run_dir else {}
            if any(int(optimizer.iterations.numpy()) > 0 for optimizer in named.values()):
                earlier = self._delivery.earlier()
                if earlier is not None and self._is_of(earlier, named):
                    self._go_on(earlier)

    def look(self, num_steps: int) -> None:
        """To be called after each batch, or group of batches: looks at the device when it is time.

        Args:
            num_steps: Steps that were run since the last call.

        Raises:
            GradientError: Where fail-fast or too many skips in a row end the run.
        """
        first = self._steps_since_drain is None
        self._steps_since_drain = (self._steps_since_drain or 0) + num_steps
        latched = False
        alarmed = False
        if self.options.guards or self.options.fail_fast:
            alarms, latched = self.recorder.alarms()
            alarmed = alarms > self._alarms
            self._alarms = alarms
        is_time = self._steps_since_drain >= STEPS_BETWEEN_DRAINS or self._delivery.is_due
        if first or alarmed or self.recorder.has_nested_calls or is_time:
            self.drain()
        if latched:
            self._stop(self._latched_error())

    def drain(self) -> None:
        """Takes what was recorded, hands it on, and tells what is wrong.

        It is judged now and then only, unless something in it is urgent, or a rule may stop the run: on a small model
        that would cost as much as recording.

        Raises:
            GradientError: If there is a finding that fail-fast names.
        """
        with own_failures("reading the records"):
            self._drain()
        if self.options.fail_fast or self._is_urgent or self._unjudged_steps >= STEPS_BETWEEN_JUDGEMENTS:
            self._judge(RECENT_STEPS, final=False)

    def finish(self) -> None:
        """Ends a run: the last records are taken and handed on, and everything is judged.

        Raises:
            GradientError: If there is a finding that fail-fast names.
        """
        with own_failures("reading the records"):
            self._drain()
        self.facts.standing.end("completed")  # before the report is made of it
        with own_failures("looking at the weights"):
            self._nonfinite_variables = nonfinite_variables(self.facts.model)
        self._judge(None, final=True)
        self._hand_on_all()
        self._delivery.pause()

    def close(self) -> None:
        """Takes the last records and closes the sinks; a second call does nothing."""
        if self._closed:
            return
        with own_failures("reading the records"):
            self._drain()
        if self.facts.standing.outcome == "running":
            self._end("interrupted")
        self._delivery.finish(self.report)
        self._closed = True
        self._delivery.close()

    def _end(self, outcome: str) -> None:
        self.facts.standing.end(outcome)
        self._hand_on_all()

    def _hand_on_all(self) -> None:
        """Hands on how the run stands; the steps have been."""
        with own_failures("writing how the run stands"):
            self._hand_on([])

    def _go_on(self, earlier: Earlier) -> None:
        assert self.options.run_dir is not None
        self._delivery.go_on()
        self.recorder.start_at(earlier.num_steps)
        self._archive.go_on(self.options.run_dir, earlier.num_steps)
        self.facts.standing.go_on(earlier)

    def _is_of(self, earlier: Earlier, optimizers: Mapping[str, Any]) -> bool:
        """Whether an earlier run has the trainable variables that are trained now."""
        now = {(variable.path, variable.shape) for variable in trained_variables(self.facts.model, optimizers)}
        return now == {(variable.path, variable.shape) for variable in earlier.variables if variable.tracked}

    def _judge(self, num_steps: int | None, *, final: bool) -> None:
        self._unjudged_steps, self._is_urgent = 0, False
        diagnosis = Diagnosis()
        with own_failures("judging the records"):
            log = self._archive.log() if num_steps is None else self._archive.ends(num_steps)
            diagnosis = diagnose(log, self.options.rules)
            if final:
                self._delivery.finish(lambda: report(log, diagnosis))
            if self._delivery.has_run_dir:
                self._delivery.write_findings(diagnosis.to_json())
        self._tell(diagnosis, final=final)

    def _drain(self) -> None:
        self._steps_since_drain = 0
        self._keep(self.recorder.drain())

    def _keep(self, segments: list[Segment]) -> None:
        self._archive.add(segments)
        is_bad = not all(segment.is_finite for segment in segments)
        kinds = {segment.key for segment in segments}
        self._is_urgent |= is_bad or not kinds <= self._kinds
        self._kinds |= kinds
        self._unjudged_steps += sum(segment.num_steps for segment in segments)
        bad = None
        if is_bad:
            with own_failures("looking at a bad step"):
                bad = self._postmortem.look()
        self._hand_on(segments, urgent=is_bad)
        if bad is not None and self.options.run_dir is not None and self.options.save_bad_step:
            with own_failures("keeping a bad step"):
                self._keep_bad_step(*bad, segments)

    def _hand_on(self, segments: list[Segment], *, urgent: bool = False) -> None:
        if self._closed or (not segments and self.recorder.num_trainable is None):
            return  # nothing is known yet: an earlier run on disk stays
        infos, places = self.recorder.table.ordered()
        renumbered = [records.renumber(segment, places) for segment in segments]
        self._delivery.write(renumbered, infos, self._info(), urgent=urgent)

    def _keep_bad_step(self, bad: Caught, cause: Cause | None, segments: list[Segment]) -> None:
        """Writes it to the run directory, if there still is one."""
        places = ((segment, np.flatnonzero(segment.steps["step"] == bad.step)) for segment in segments)
        epochs = [int(segment.steps["epoch"][rows[0]]) for segment, rows in places if len(rows)]
        self._delivery.add_bad_step(*described(bad, cause, epochs[0] if epochs else -1))

    def _info(self) -> records.RunInfo:
        recorder = self.recorder
        return self.facts.info(
            recorder.num_trainable, self._postmortem.origins, recorder.output, self._nonfinite_variables
        )

    def _tell(self, diagnosis: Diagnosis, *, final: bool) -> None:
        stopping = [finding for finding in diagnosis.findings if self.options.stops(finding)]
        if stopping:
            self._stop(error_for(stopping, diagnosis))
        for finding in self._telling.fresh(diagnosis, final=final):
            warn(words_of(finding))

    def _stop(self, error: GradientError) -> None:
        self._end("stopped")
        self.close()
        raise error

    def _latched_error(self) -> GradientError:
        with own_failures("judging the records"):
            findings = diagnose(self._archive.tail(RECENT_STEPS), self.options.rules).findings
            bad = [finding for finding in findings if finding.rule in NONFINITE]
            if bad:
                error = error_for(bad, Diagnosis(tuple(findings)))
                if self.options.latches:
                    return error
                return NonFiniteGradientError(
                    f"More than {self.options.max_consecutive_skips} updates in a row had to be dropped "
                    f"(max_consecutive_skips={self.options.max_consecutive_skips}); the weights are the last good "
                    f"ones. {error}",
                    findings=error.findings,
                    step=error.step,
                )
        return NonFiniteGradientError(
            "A gradient held NaN or Inf, and updates were held back from there on: the weights are the last good ones."
        )

    def _all_detached(self, optimizer: str, variables: list[Any]) -> Exception:
        """The error for a step in which no variable has a gradient; the log gets a record of it."""
        numbers = self.recorder.table.add(variables)
        self.recorder.num_trainable = len(self.recorder.table)
        last = self._archive.last_step
        self._keep([records.detached_step(optimizer, numbers, last + 1, self.options.statistics)])
        findings = diagnose(self._archive.tail(RECENT_STEPS), (DetachedVariable(),)).findings
        message = words_of(findings[0]) if findings else f"No variable given to optimizer {optimizer!r} has a gradient."
        self.refusal = DetachedVariableError(
            f"{message} (Keras says: No gradients provided for any variable.)", findings=findings, step=last + 1
        )
        return self.refusal
