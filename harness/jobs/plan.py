"""The plan of a trial: its key, the files that its stages write, and the jobs that are not done yet."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.checkpoints.published import must_be_there
from harness.errors import ArbenchError
from harness.hashing import digest, weights_sha256
from harness.identity.source import source_sha256
from harness.records.store import Store
from harness.setup import Setup
from harness.stages import STAGES, VERSIONS, Stage
from harness.stages.generate.shards import Shards
from harness.stages.quality.reference import Reference
from harness.stages.timing.protocol import Protocol
from harness.trial import Trial

UNTIMED: tuple[Stage, ...] = ("generate", "quality", "flops")
"""The stages that do not need a quiet machine."""


@dataclass(frozen=True)
class Instrument:
    """The measuring setup that all trials of a run share."""

    # (name, weights) of each extractor; weights None: bundled. The scores are named after the first extractor.
    extractors: tuple[tuple[str, Path | None], ...]
    references: Mapping[str, Sequence[Reference]]  # for each data set, one reference for each extractor
    timing: Protocol = field(default_factory=Protocol)


@dataclass(frozen=True)
class TrialPlan:
    """A trial, planned: its key, and where its files go."""

    trial: Trial
    name: str
    key: str
    folder: Path  # the trial's work folder
    stages: Mapping[Stage, Path]  # output file of each stage that the trial goes through
    data: str  # name of the data set whose images are the reference
    weights: Mapping[str, str]  # a dict from file name to sha256
    identity: Mapping[Stage, Mapping[str, Any]] = field(default_factory=dict)  # the values whose digest is ``key``
    checkpoint: Path | None = None  # a file of the user's own that replaces the network's weights
    # another method's trial that has the same images; the twin's jobs make the images, once for both trials
    twin: "TrialPlan | None" = None

    @property
    def maker(self) -> "TrialPlan":
        """The plan whose jobs make this trial's images and measure their quality.

        A twin is a trial of another method that gives the same images. If the trial has a twin, ``maker`` is the plan
        of the twin. Otherwise ``maker`` is the trial's own plan.
        """
        return self.twin or self

    @property
    def shards(self) -> Shards:
        """The shards of the trial's images."""
        return Shards(self.folder / "shards", self.trial.images, self.trial.setup.compute_batch)

    @property
    def short(self) -> str:
        """The first 16 characters of the key. The id of every job of the trial begins with them."""
        return self.key[:16]

    @property
    def kind(self) -> tuple[str, str, Setup]:
        """Method, preset and setup. Trials that agree in all three share a loaded method."""
        return self.trial.method, self.trial.preset, self.trial.setup

    def done(self, stage: Stage) -> bool:
        """Whether nothing is left to do in a stage: its file is there, or the trial does not go through this stage."""
        return stage not in self.stages or self.stages[stage].exists()

    @property
    def measured(self) -> bool:
        """Whether all stages are done, except perhaps timing."""
        return all(self.done(stage) for stage in UNTIMED)

    def forgive(self) -> None:
        """Forget the trial's faults (harness/cluster/faults.py): its jobs are all tried again."""
        for folder in {self.folder, self.maker.folder}:
            shutil.rmtree(folder / "faults", ignore_errors=True)


@dataclass(frozen=True)
class Job:
    """A piece of work that one worker does in one go."""

    plan: TrialPlan
    stage: Stage
    indices: range = range(0)  # images of the shard, for stage ``generate``

    @property
    def id(self) -> str:
        """A name that no other job has, in this run or in any other run."""
        return f"{self.plan.short}:{self.part}"

    @property
    def part(self) -> str:
        """The job's part in its trial: the stage, and the shard if it has one. Can be used as a file name."""
        return f"{self.stage}-{self.indices.start}-{self.indices.stop}" if self.indices else self.stage

    @property
    def done(self) -> bool:
        """Whether the job's result is there, whoever has made it."""
        if self.stage != "generate":
            return self.plan.done(self.stage)
        return self.plan.shards.covers(self.indices) or self.plan.done("generate")


def plan(trial: Trial, instrument: Instrument, store: Store, checkpoint: Path | None = None) -> TrialPlan:
    """The plan of a trial. checkpoint: a file of the user's own that replaces the network's weights.

    The name of a stage's file depends on everything that influences the file's content. If anything else changes, the
    name stays the same: the file is then found again, and is still valid. Raises ArbenchError if weights cannot be
    read.
    """
    made = _alone(trial, instrument, store, checkpoint)
    twin = _twin(made, instrument, store)
    if twin is None:
        return made
    stages = {**made.stages, "generate": twin.stages["generate"], "quality": twin.stages["quality"]}
    return replace(made, stages=stages, twin=twin)


def _twin(made: TrialPlan, instrument: Instrument, store: Store) -> TrialPlan | None:
    """The plan of a trial's twin; None if the trial has no twin. made: the plan of the trial.

    A twin is a trial of another method that gives the same images. The trial's method states which one: its function
    ``same_as`` returns the name of the other method, and the knobs that the twin has. There is no twin if the two
    trials would have different data sets. There is no twin, either, if the other method would need weights that the
    trial does not have.
    """
    trial = made.trial
    same = trial.owner.same_as(trial.knobs, trial.preset) if trial.setup.weights == "trained" else None
    if same is None:
        return None
    method, knobs = same
    other = Trial.of(method, trial.preset, knobs, asdict(trial.sampling), trial.seed, trial.images, asdict(trial.setup))
    twin = _alone(other, instrument, store)
    return twin if twin.data == made.data and twin.weights.items() <= made.weights.items() else None


def _alone(trial: Trial, instrument: Instrument, store: Store, checkpoint: Path | None = None) -> TrialPlan:
    """The plan of a trial. No twin is looked for."""
    owner = trial.owner
    preset = owner.preset_named(trial.preset)
    weights: dict[str, str] = {}
    references: Sequence[Reference] = ()
    if trial.setup.own and checkpoint is None:
        raise ArbenchError(f"{trial.name} is on weights of one's own: --checkpoint {trial.method}=FILE names them")
    if trial.setup.weights != "random":
        references = instrument.references[preset.data]
        paths, sources = owner.weight_files(trial.preset), owner.weight_sources(trial.preset)
        if checkpoint is not None:
            if checkpoint.name in {path.name for path in paths[1:]}:
                raise ArbenchError(f"checkpoint {checkpoint} is called as another file of {owner.name}: rename it")
            paths = (checkpoint, *paths[1:])
        must_be_there([path for path in paths if path.name in sources], f"{owner.name}/{trial.preset}", sources)
        weights = weights_sha256(paths)
    made = {
        **trial.settings(),
        "classes": preset.classes,
        "weights": weights,
        "source": source_sha256(owner),
        "extractors": {one.extractor: one.facts["weights"] for one in references},
        "extractors_tf32": {one.extractor: one.tf32 for one in references},
        "version": VERSIONS["generate"],
    }
    identity: dict[Stage, dict[str, Any]] = {
        "generate": made,
        "quality": {"version": VERSIONS["quality"], "references": [one.key for one in references]},
        "flops": {"version": VERSIONS["flops"]},
        "timing": {"version": VERSIONS["timing"], "protocol": asdict(instrument.timing)},
    }
    folder = store.work(digest(made))
    gone_through: tuple[Stage, ...] = ("flops", "timing") if trial.setup.weights == "random" else STAGES
    stages = {stage: folder / f"{stage}-{digest(identity[stage])[:16]}.json" for stage in gone_through}
    if "generate" in stages:
        stages["generate"] = folder / "generated.npz"
    return TrialPlan(
        trial=trial,
        name=trial.name,
        key=digest(identity),
        folder=folder,
        stages=stages,
        data=preset.data,
        weights=weights,
        identity=identity,
        checkpoint=checkpoint,
    )


def listed(planned: TrialPlan) -> dict[str, Any]:
    """A plan as a dict for ``Store.announce``.

    - ``name``, ``key``, ``images``, ``compute_batch``: of the trial
    - ``folder``: the work folder that has the trial's shards, as a path relative to the store's folder
    - ``stages``: a dict from stage to the file that the stage writes, as a path relative to ``folder``
    """
    home = planned.maker.folder
    stages = {
        stage: path.name if path.parent == home else f"../{path.parent.name}/{path.name}"
        for stage, path in planned.stages.items()
    }
    folder = f"{home.parent.name}/{home.name}"
    trial = planned.trial
    sizes = {"images": trial.images, "compute_batch": trial.setup.compute_batch}
    return {"name": planned.name, "key": planned.key, **sizes, "folder": folder, "stages": stages}


def jobs(planned: TrialPlan, batch: int) -> Iterator[Job]:
    """The jobs of a trial that are not done yet and can start now. Trials that share images also share the jobs that
    make the images.

    The job of stage ``quality`` is not among the jobs, because stage ``quality`` needs all shards. A shard is a file
    with some of the trial's images. Each job of stage ``generate`` makes one shard.

    batch: the number of images in a new shard, before it is rounded up to whole compute batches. A shard that fills a
        gap may be smaller.
    """
    if not planned.done("generate"):
        yield from (Job(planned.maker, "generate", indices) for indices in planned.maker.shards.missing(batch))
    if not planned.done("flops"):
        yield Job(planned, "flops")
