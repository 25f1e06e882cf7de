"""The bench: does jobs in one process, one after another, and keeps what it has loaded for the next job."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness import files
from harness.errors import ArbenchError
from harness.execution.modes import COMPILE, GRAPH, OFF, resolved
from harness.execution.running import Running
from harness.extractors import by_name
from harness.extractors.base import Extractor
from harness.identity.source import code_sha256
from harness.images.datasets import reference_images
from harness.jobs import loading
from harness.jobs.plan import Instrument, Job, TrialPlan
from harness.machine import devices, hardware
from harness.machine.arithmetic import arithmetic
from harness.method import Method
from harness.setup import Setup
from harness.stages.flops import stage as flops
from harness.stages.generate import shards
from harness.stages.generate import stage as generate
from harness.stages.quality import stage as quality
from harness.stages.quality.reference import Reference
from harness.stages.quality.reference_data import reference_for
from harness.stages.quality.reference_files import reference_of
from harness.stages.timing.protocol import Protocol
from harness.stages.timing.stage import interleaved

LOG_LINES = 30
"""How many lines the record of a failed trial keeps from the end of a log."""


@dataclass(frozen=True)
class Failure:
    """Why a trial failed."""

    stage: str  # the stage in which the trial failed
    reason: str  # in one line
    log: str  # the last lines of the log


class Bench:
    """Does jobs, one after another.

    When a bench is sent to a worker process, everything that the bench has loaded stays behind. In the worker, the
    bench loads what its jobs need: extractors, references and the method. Only one method is loaded at a time, because
    trials of one method follow each other.
    """

    _loaded: "_Loaded"

    def __init__(
        self,
        extractors: Sequence[tuple[str, Path | None]],
        folder: Path,  # where references are kept
        timing: Protocol | None = None,  # None: the usual protocol
        reference: Path | None = None,  # reference images or statistics of data that do not ship with arbench
        device: str = "cpu",  # torch's name of the device
    ) -> None:
        self._named, self._folder, self._timing = tuple(extractors), folder, timing or Protocol()
        self._reference, self.device = reference, device
        self._loaded = _Loaded()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": _Loaded()}

    def at(self, device: str) -> "Bench":
        """The same bench on another device, with nothing loaded."""
        return Bench(self._named, self._folder, self._timing, self._reference, device)

    def do(self, job: Job) -> None:
        """Do a job and write its file. Raises any error of the job."""
        with devices.current(torch.device(self.device)):
            {"generate": self._generate, "flops": self._flops, "quality": self._quality}[job.stage](job)

    def attempt(self, job: Job) -> Failure | None:
        """Do a job; returns its failure, or None. Interrupts are not caught."""
        try:
            self.do(job)
        except Exception as error:  # whatever a method raises concerns its trial alone
            reason = str(error) if isinstance(error, ArbenchError) else f"{type(error).__name__}: {error}"
            return Failure(job.stage, " ".join(reason.split()), last_lines(traceback.format_exc()))
        return None

    def session(self, jobs: Sequence[Job], tell: Callable[[str], None]) -> Iterator[tuple[Job, Failure | None]]:
        """Do the timing jobs of several trials in one session, interleaved, and write their files. Nothing else should
        run on the machine. ``tell`` is called with lines of progress."""
        first = {job.plan.kind: job.plan for job in reversed(jobs)}
        load = loading.load if self._timing.capture == COMPILE else loading.packed
        loaders = {kind: partial(load, planned, self.device) for kind, planned in first.items()}
        cases = [
            (one.name, loaders[one.kind], one.trial.knobs, one.trial.sampling) for one in (job.plan for job in jobs)
        ]
        # Nothing that a stage before has loaded takes memory, or a share of the device, from what is timed.
        self._loaded.kind = self._loaded.method = self._loaded.running = None
        with devices.current(torch.device(self.device)):
            results = interleaved(cases, self._timing, tell)
        about = {"machine": hardware.machine(), "code": code_sha256()}
        for job, found in zip(jobs, results, strict=True):
            if "failure" in found:
                yield job, Failure("timing", found["failure"], last_lines(found["log"]))
            else:
                files.write_json(job.plan.stages["timing"], {**found, **about})
                yield job, None

    def _generate(self, job: Job) -> None:
        path = job.plan.shards.path(job.indices)
        if not path.exists() and not job.plan.done("generate"):  # another runner may have done it
            method = self._method(job.plan)
            shard = generate.shard(method, self.extractors(), job.plan.trial, job.indices, self._running(job.plan))
            with _unless_done(job.plan):
                origin = {"code": np.array(code_sha256()), "device": np.array(torch.device(self.device).type)}
                files.write_arrays(path, {**shard, **origin})

    def _quality(self, job: Job) -> None:
        arrays = self.generated(job.plan)
        reference, *others = self.references(job.plan.data)
        beside = [(generate.seen_by(arrays, other.extractor), other) for other in others]
        drawn = job.plan.trial.setup.labels == "random"
        found = quality.measure(generate.seen_by(arrays), arrays["labels"], reference, beside, drawn)
        path = job.plan.stages["quality"]
        files.write_arrays(path.with_suffix(".npz"), found.replicates)
        made = {"generate": generate.summary(arrays), "quality": found.figures, "code": code_sha256()}
        files.write_json(path, made)

    def generated(self, plan: TrialPlan) -> shards.Arrays:
        """The arrays that the stage ``generate`` of a trial has made.

        Each job of this stage writes a shard, a file with the arrays of some of the images. If the shards are not
        merged yet, they are merged into one file. Then the shards are removed. Raises ArbenchError if shards are
        missing.
        """
        path = plan.stages["generate"]
        if not path.exists():
            with _unless_done(plan):
                files.write_arrays(path, plan.shards.merge())
        plan.shards.remove()
        return files.read_arrays(path)

    def _flops(self, job: Job) -> None:
        method, trial = self._method(job.plan), job.plan.trial
        with arithmetic(trial.setup.tf32):  # where cost depends on content, it depends on how content is rounded
            counted = flops.count(method, trial.knobs, trial.sampling, trial.seed, trial.setup.labels)
        whole, tokenizer = (sum(p.numel() for p in part.parameters()) for part in (method, method.tokenizer))
        sizes = {"network": whole - tokenizer, "tokenizer": tokenizer}
        made = {"flops": counted, "parameters": sizes, "code": code_sha256()}
        files.write_json(job.plan.stages["flops"], made)

    def _method(self, plan: TrialPlan) -> Method:
        kind = plan.kind
        if self._loaded.kind != kind or self._loaded.method is None:
            self._loaded.method = self._loaded.running = None  # freed before the new method is loaded
            self._loaded.method, self._loaded.kind = loading.packed(plan, self.device), kind
        return self._loaded.method

    def _running(self, plan: TrialPlan) -> Running:
        """The functions that generate a trial's images: captured, if the protocol says so for timing."""
        if self._loaded.running is None or self._loaded.running[0] != plan.key:
            self._loaded.running = None  # what was captured before is freed first
            device = torch.device(self.device)
            # Generation is captured on CUDA whenever timing is, and never compiled.
            graph = device.type == "cuda" and resolved(self._timing.capture, device) != OFF
            made = generate.prepared(self._method(plan), plan.trial, GRAPH if graph else OFF)
            self._loaded.running = plan.key, made
        return self._loaded.running[1]

    def extractors(self) -> list[Extractor]:
        """The extractors, loaded. ArbenchError for an unknown name or unreadable weights."""
        if self._loaded.extractors is None:
            found = [by_name.load(name, weights) for name, weights in self._named]
            for one in found:
                one.network.to(self.device)
            self._loaded.extractors = found
        return self._loaded.extractors

    def references(self, data: str) -> list[Reference]:
        """The references of a data set, one for each extractor.

        A reference holds the statistics of reference images, with which scores compare the images of a method. The
        references are computed once per store. Raises ArbenchError if the images of the data set do not ship with
        arbench, and the bench was made without a path of reference images or statistics.
        """
        if data not in self._loaded.references:
            path, folder = self._reference, self._folder
            if path is not None:
                found = [reference_of(path, extractor, folder) for extractor in self.extractors()]
            else:
                images = reference_images(data)
                found = [reference_for(images, extractor, folder) for extractor in self.extractors()]
            self._loaded.references[data] = found
        return self._loaded.references[data]

    def instrument(self, plan: TrialPlan) -> Instrument:
        """The measuring setup of a trial: extractors, references and timing protocol. There are no references if the
        trial is on random weights, because its images are not scored."""
        references = {plan.data: self.references(plan.data)} if "quality" in plan.stages else {}
        return Instrument(self._named, references, self._timing)


@dataclass
class _Loaded:
    """What a bench has loaded."""

    kind: tuple[str, str, Setup] | None = None  # the kind of trial (TrialPlan.kind) for which the method was loaded
    method: Method | None = None
    running: tuple[str, Running] | None = None  # the key of the trial for which it was prepared, and what was prepared
    extractors: list[Extractor] | None = None
    references: dict[str, list[Reference]] = field(default_factory=dict)  # by data set


@contextmanager
def _unless_done(plan: TrialPlan) -> Iterator[None]:
    """Ignore an ArbenchError or OSError inside the ``with`` if stage ``generate`` is done when the error is raised.

    In this case another process has merged the shards and then removed their folder. The error came from the missing
    folder.
    """
    try:
        yield
    except (ArbenchError, OSError):
        if not plan.done("generate"):
            raise


def last_lines(text: str) -> str:
    """The last LOG_LINES lines of a log, for the record of a failed trial."""
    return "\n".join(text.rstrip().splitlines()[-LOG_LINES:])
