"""What is to be done for a trial, and where: its key, the files its stages leave, the jobs still open."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from harness import files, traces
from harness.errors import ArbenchError, shown, unknown
from harness.hashing import digest, source_sha256, weights_sha256
from harness.method import Method
from harness.numbers import as_number, is_number
from harness.reference import Reference
from harness.setup import Setup, in_precision
from harness.stages import VERSIONS
from harness.stages.generate import UNKNOWN_CODE, Shards
from harness.stages.quality import METRIC_VERSION
from harness.stages.timing import Protocol
from harness.store import REPLICATES, Store
from harness.trial import Trial
from harness.weights import must_be_there

UNTIMED = ("generate", "quality", "flops")
"""The stages that do not depend on the machine's quiet."""


@dataclass(frozen=True)
class Instrument:
    """What trials are measured with. extractors: names, and weights where they are not bundled, the one that scores are
    named after first; references: data set -> what each of them sees in its reference images; timing: the whole
    protocol."""

    extractors: tuple[tuple[str, Path | None], ...]
    references: Mapping[str, Sequence[Reference]]
    timing: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """A trial, planned: its key, and where its files go."""

    trial: Trial
    name: str
    key: str
    folder: Path  # the trial's work folder
    stages: Mapping[str, Path]  # the file that each stage leaves, of those that the trial goes through
    data: str  # name of the data set whose images are the reference
    weights: Mapping[str, str]  # sha256 by file name
    identity: Mapping[str, Any] = field(default_factory=dict)  # the values whose digest is ``key``
    checkpoint: Path | None = None  # a file of the user's own, in place of the network's weights
    twin: "Plan | None" = None  # the trial of another method that has the same images, which are made once, by it

    @property
    def maker(self) -> "Plan":
        """The plan whose jobs make the images and judge their quality: the twin's, if there is one."""
        return self.twin or self

    @property
    def shards(self) -> Shards:
        """The shards of its images."""
        return Shards(self.folder / "shards", self.trial.images)

    @property
    def short(self) -> str:
        """How ids of its jobs begin."""
        return self.key[:16]

    @property
    def kind(self) -> tuple[str, str, Setup]:
        """Trials of one kind share a loaded method."""
        return self.trial.method, self.trial.preset, self.trial.setup

    def done(self, stage: str) -> bool:
        """Whether a stage has left its file, or is none of the trial's."""
        return stage not in self.stages or self.stages[stage].exists()

    @property
    def measured(self) -> bool:
        """Whether all is there but perhaps the timing."""
        return all(self.done(stage) for stage in UNTIMED)

    def forgive(self) -> None:
        """Forget what went wrong (harness/cluster/claims.py): it is all tried again."""
        for folder in {self.folder, self.maker.folder}:
            shutil.rmtree(folder / "faults", ignore_errors=True)

    def load_method(self, device: str = "cpu") -> Method:
        """The method, with the weights that the key was made of, in the trial's precision, on a device.

        Raises ArbenchError if they cannot be read, or are others than ``weight_files`` names or than they were.
        """
        method = self._random() if self.trial.setup.weights == "random" else self._trained()
        in_precision(method, self.trial.setup.precision)
        return method.eval().to(device)

    def _trained(self) -> Method:
        owner = self.trial.owner
        method = owner.load(self.trial.preset, self.checkpoint) if self.checkpoint else owner.load(self.trial.preset)
        for name, sha256 in method.provenance.weights.items():
            if Path(name).name not in self.weights:
                if self.checkpoint is not None:
                    raise ArbenchError(f"method {owner.name!r} does not load the checkpoint {self.checkpoint}")
                raise ArbenchError(f"method {owner.name!r} loads {name}, which its weight_files() does not name")
            if self.weights[Path(name).name] != sha256:
                raise ArbenchError(f"weights {name} of {owner.name!r} have changed since the run began")
        return method

    def _random(self) -> Method:
        """Random weights, the same ones every time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.trial.owner.build(self.trial.preset)


@dataclass(frozen=True)
class Job:
    """A piece of work that one worker does at a stretch. indices: the shard, for stage ``generate``."""

    plan: Plan
    stage: str
    indices: range = range(0)

    @property
    def id(self) -> str:
        """Tells jobs apart, those of other runs too."""
        return f"{self.plan.short}:{self.part}"

    @property
    def part(self) -> str:
        """What it does for its trial: the stage, and the shard if it has one. Good as a file's name."""
        return f"{self.stage}-{self.indices.start}-{self.indices.stop}" if self.indices else self.stage

    @property
    def done(self) -> bool:
        """Whether what it was to leave is there, whoever left it."""
        if self.stage != "generate":
            return self.plan.done(self.stage)
        return self.plan.shards.covers(self.indices) or self.plan.done("generate")


def plan(trial: Trial, instrument: Instrument, store: Store, checkpoint: Path | None = None) -> Plan:
    """The plan of a trial. A stage's file is named after all that its content depends on, so that what is still valid
    is found again when something else has changed. checkpoint: a file of the user's own in place of the network's
    weights. Raises ArbenchError if weights cannot be read."""
    made = _alone(trial, instrument, store, checkpoint)
    twin = _twin(made, instrument, store)
    if twin is None:
        return made
    stages = {**made.stages, "generate": twin.stages["generate"], "quality": twin.stages["quality"]}
    return replace(made, stages=stages, twin=twin)


def _twin(made: Plan, instrument: Instrument, store: Store) -> Plan | None:
    """The plan of the trial that a method declares to have the same images (``Method.same_as``), if it has the same
    weights here."""
    trial = made.trial
    same = trial.owner.same_as(trial.knobs, trial.preset) if trial.setup.weights == "trained" else None
    if same is None:
        return None
    method, knobs = same
    other = Trial.of(method, trial.preset, knobs, asdict(trial.sampling), trial.seed, trial.images, asdict(trial.setup))
    twin = _alone(other, instrument, store)
    return twin if twin.data == made.data and twin.weights.items() <= made.weights.items() else None


def _alone(trial: Trial, instrument: Instrument, store: Store, checkpoint: Path | None = None) -> Plan:
    """The plan of a trial that shares nothing."""
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
        "version": VERSIONS["generate"],
    }
    identity = {
        "generate": made,
        "quality": {"version": METRIC_VERSION, "references": [one.key for one in references]},
        "flops": {"version": VERSIONS["flops"]},
        "timing": {"version": VERSIONS["timing"], "protocol": dict(instrument.timing)},
    }
    folder = store.work(digest(made))
    stages = {
        stage: folder / f"{stage}-{digest(identity[stage])[:16]}.json" for stage in ("quality", "flops", "timing")
    }
    stages = {"generate": folder / "generated.npz", **stages}
    if trial.setup.weights == "random":
        stages = {stage: stages[stage] for stage in ("flops", "timing")}
    return Plan(
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


def listed(planned: Plan) -> dict[str, Any]:
    """A plan as ``Store.announce`` takes it. folder: where its shards are, relative to the store's; stages: the files,
    relative to that."""
    home = planned.maker.folder
    stages = {
        stage: path.name if path.parent == home else f"../{path.parent.name}/{path.name}"
        for stage, path in planned.stages.items()
    }
    folder = f"{home.parent.name}/{home.name}"
    images = planned.trial.images
    return {"name": planned.name, "key": planned.key, "images": images, "folder": folder, "stages": stages}


def jobs(planned: Plan, batch: int) -> Iterator[Job]:
    """The jobs that are open and can start at once; ``quality`` follows when the shards are there. Those of trials that
    share images are the same."""
    if not planned.done("generate"):
        yield from (Job(planned.maker, "generate", indices) for indices in planned.maker.shards.missing(batch))
    if not planned.done("flops"):
        yield Job(planned, "flops")


def assemble(planned: Plan, instrument: Instrument, about: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The record and its arrays, from the files of all its stages; on random weights there are no arrays, and
    ``generate`` and ``quality`` are None. ``timing`` is None while it is not there. ``about``: its provenance."""
    paths = {stage: path for stage, path in planned.stages.items() if path.suffix == ".json"}
    found = {stage: files.read_json(path) for stage, path in paths.items() if stage != "timing" or path.exists()}
    quality = found.get("quality", {})
    code = {"generate": quality["generate"].pop("code", UNKNOWN_CODE)} if quality else {}
    code |= {stage: found[stage].pop("code", UNKNOWN_CODE) for stage in found}
    if quality and (others := sorted({one for part in code.values() for one in part.split("+")} - {about["code"]})):
        stages = ", ".join(stage for stage, made_by in code.items() if made_by != about["code"])
        quality["quality"]["flags"].append(f"{stages}: made by other code ({', '.join(others)[:60]})")
    record = {
        **heading(planned, "done"),
        "generate": quality.get("generate"),
        "quality": quality.get("quality"),
        "flops": found["flops"]["flops"],
        "timing": found.get("timing"),
        "parameters": found["flops"]["parameters"],
        "provenance": {**provenance(planned, instrument, about), "stage_code": code},
    }
    if "generate" not in planned.stages:
        return record, {}
    arrays = files.read_arrays(planned.stages["generate"])
    replicates = files.read_arrays(planned.stages["quality"].with_suffix(".npz"))
    names = ("thumbnails", "labels", "steps", "fingerprints")
    kept: dict[str, Any] = {name: arrays[name] for name in names if name in arrays}
    return record, {
        **kept,
        **traces.kept(arrays),
        **{f"{REPLICATES}{name}": values for name, values in replicates.items()},
    }


def heading(planned: Plan, status: str) -> dict[str, Any]:
    """The part that every record has, failed ones too."""
    return {
        "name": planned.name,
        "key": planned.key,
        "identity": dict(planned.identity),
        "status": status,
        "failure": None,
        "trial": planned.trial.settings(),
        "data": planned.data,
        "method": {name: getattr(planned.trial.owner, name) for name in ("title", "family", "paper", "differences")},
    }


def provenance(planned: Plan, instrument: Instrument, about: Mapping[str, Any]) -> dict[str, Any]:
    """Where a record came from: what all of a run share, and the hashes that are this trial's own."""
    references = instrument.references[planned.data] if "quality" in planned.stages else ()
    own = planned.checkpoint
    return {
        **about,
        **({"checkpoint": {"file": str(own), "sha256": planned.weights[own.name]}} if own else {}),
        **({"images_of": {"name": planned.twin.name, "key": planned.twin.key}} if planned.twin else {}),
        "weights": dict(planned.weights),
        "data": references[0].facts["data"] if references else None,
        "reference": references[0].key if references else None,
        "extractors": {one.extractor: one.facts["weights"] for one in references},
    }


LARGEST = 10**9
"""Of a number of the timing protocol."""


def protocol(timing: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The whole timing protocol, from a sweep's ``[timing]`` table. ArbenchError naming an unknown or wrong setting."""
    default = asdict(Protocol())
    given: dict[str, Any] = {}
    for name, value in timing.items():
        if name not in default:
            raise ArbenchError(f"{source}: [timing]: {unknown('key', name, default)}")
        kind = type(default[name])
        if kind is str:
            right, words = isinstance(value, str), "a string"
        else:
            right = is_number(value) and 0 <= value <= LARGEST and not (kind is int and isinstance(value, float))
            words = f"a {'whole ' if kind is int else ''}number from 0 to {LARGEST}"
        if not right:
            raise ArbenchError(f"{source}: [timing]: key {name!r} must be {words}, got {shown(value)}")
        given[name] = value if kind is str else as_number(value, kind is int)
    try:
        return asdict(Protocol(**given))
    except ArbenchError as error:
        raise ArbenchError(f"{source}: [timing]: {error}") from error
