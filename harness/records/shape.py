"""The shape of a record: each part of a record is declared once, with its meaning and its type.

Every record that is read, from a store or from elsewhere, is checked against this shape (harness/records/schema.py).
The page docs/reference/record.rst is made from the shape and from a record that was really measured. A part that has a
default may be missing or null. A record may also have parts that are not declared here.
"""

from types import NoneType
from typing import Any, get_args

from msgspec import Struct, defstruct

from harness.stages.figures import scores

Pair = tuple[float, float]
Table = dict[str, Any]
Settings = dict[str, bool | int | float | str | None]
Numbered = dict[str, float | None]
Columns = dict[str, list[float] | None]
Pairs = dict[str, Pair | dict[str, Pair | None] | None]

IN_WORDS = {
    int: "whole",
    float: "number",
    str: "text",
    bool: "flag",
    Table: "object",
    Settings: "settings",
    Numbered: "numbered",
    Columns: "columns",
    Pairs: "pairs",
    list[float]: "numbers",
    list[str]: "texts",
    list[Table]: "objects",
}
"""The kinds of values, as errors name them."""


def kind(hint: Any) -> Any:
    """The type of a part. If the part is optional, None is removed from the type: ``str | None`` becomes ``str``."""
    types = get_args(hint)
    return next(one for one in types if one is not NoneType) if NoneType in types else hint


def section(hint: Any) -> type[Struct] | None:
    """The shape of a part that has parts of its own; None for any other part. hint: the type of the part"""
    found = kind(hint)
    return found if isinstance(found, type) and issubclass(found, Struct) else None


class Why(Struct):
    """Why a trial failed."""

    stage: str | None = None  # the stage in which it failed
    reason: str | None = None  # in one line
    log: str | None = None  # the last lines of the log


class Asked(Struct):
    """All settings of a trial."""

    images: int  # how many images are made
    method: str | None = None  # name of the method, as `arbench list` prints it
    preset: str | None = None  # architecture, data set and usual settings
    knobs: Settings | None = None  # the method's own settings
    sampling: Settings | None = None  # guidance, temperature, top-k, top-p
    seed: int | None = None  # all noise and all labels follow from it
    setup: Settings | None = None  # precision, TF32, labels, rounding to bytes, weights, images computed at once


class About(Struct):
    """What a record says of the method: title, family, paper, and differences from the paper."""

    title: str | None = None  # its name on pages
    family: str | None = None  # methods of one family are compared with the dense method of the family
    paper: str | None = None  # where it is described
    differences: str | None = None  # how our implementation differs from the paper's


class Made(Struct):
    """The results of the stage that makes the images (generate)."""

    images: float | None = None  # how many were made
    steps_mean: float | None = None  # sequential evaluations of the network, mean over images
    steps_std: float | None = None  # standard deviation of the steps over images
    seconds: float | None = None  # seconds for all images, summed over processes; not taken by stage timing
    device: str | None = None  # kind of device that made them, such as cpu or cuda, whatever the run was asked for


class _Quality(Struct):
    """The results of the stage that scores the images (quality). If a score cannot be computed for these images, it is
    null, and a flag says why."""

    intervals: Pairs | None = None  # the ends of the 95 % interval of each score
    resampling: Table | None = None  # how the intervals were made
    flags: list[str] | None = None  # what a reader must know before trusting a score
    extractor: str | None = None  # name of the extractor; scores that name no other extractor use its features
    reference: Table | None = None  # what the images were compared with
    version: float | None = None  # rises when a score is computed in another way


def _scores() -> list[tuple[str, Any, None]]:
    return [(one.name, (Numbered if one.by_extractor else float) | None, None) for one in scores()]


Quality = defstruct("Quality", _scores(), bases=(_Quality,))


class Read(Struct):
    """The bytes that an image has to read from memory. How often weights are read does not depend on the batch."""

    weights: list[float] | None = None  # bytes of weights that each step reads
    cache: list[float] | None = None  # bytes of keys and values of earlier steps that each step reads
    decoder: float | None = None  # bytes of weights that the decoder reads
    convention: str | None = None  # what counts as a byte that has to be read


class Flops(Struct):
    """The results of the stage that counts multiply-adds (flops), for one image, decoder included."""

    macs: float | None = None  # multiply-adds
    flops: float | None = None  # twice the multiply-adds
    macs_std: float | None = None  # standard deviation over images, if the count depends on the image
    by_part: Numbered | None = None  # MACs of each part of the network
    by_step: list[float] | None = None  # MACs of each step
    bytes: Read | None = None  # what has to be read from memory
    tokens_macs: float | None = None  # MACs that make tokens
    decoder_macs: float | None = None  # MACs that turn tokens into an image
    data_dependent: bool | None = None  # whether the count depends on the image
    images_counted: float | None = None  # how many images the count is a mean of
    counter: str | None = None  # how the multiply-adds were counted
    convention: str | None = None  # what counts as one multiply-add


class Timed(Struct):
    """The measured speed of a method: latency, or (in the subclass ``Throughput``) throughput."""

    total_s: float | None = None  # seconds of one batch: median over rounds
    tokens_s: float | None = None  # the part of total_s that making tokens takes
    decoder_s: float | None = None  # the part of total_s that turning tokens into images takes
    interval: list[float] | None = None  # 95 % interval of total_s
    coverage: float | None = None  # how sure the interval is; below 0.95 if there were few rounds
    noisy: bool | None = None  # whether the interval is wider than the protocol's bound
    batch: float | None = None  # images of a batch
    samples: list[float] | None = None  # for each round: seconds of one batch
    percentiles: dict[str, float | None] | None = None  # p50, p90 and p99 of the seconds of one batch; null: too few
    decoder_samples: list[float] | None = None  # for each round: seconds for turning tokens into images
    pace: list[float] | None = None  # for each round: 1 is usual; 2 if everything took twice as long
    ended: str | None = None  # why no more rounds were taken
    disturbances: Columns | None = None  # for each round: the time lost to other work
    gpu: Table | None = None  # state of the GPU during the rounds: ranges, throttling, other processes
    why: str | None = None  # what the noise comes from, and whether the GPU was throttled or shared


class Throughput(Timed):
    """The measured speed on a large batch (throughput)."""

    images_per_s: float | None = None  # images a second
    images_per_s_interval: list[float] | None = None  # 95 % interval of images_per_s
    joules_per_image: float | None = None  # energy of an image, where the machine counts it
    joules_per_image_interval: list[float] | None = None  # 95 % interval of joules_per_image; null in older records
    joules_per_image_runs: list[float] | None = None  # for each run of seconds: energy of an image
    joules_per_image_gpu: Table | None = None  # state of the GPU during these runs
    joules_per_image_why: str | None = None  # why energy is unknown, or how the GPU was throttled or shared


class Rates(Struct):
    """What the device could do at the start of the timing session."""

    bandwidth: float | None = None  # bytes a second that it read from memory
    matrix: float | None = None  # FLOPs a second, of large matrix products
    precision: str | None = None  # torch's name of the numbers in those products
    tf32: str | None = None  # whether those products could use TF32: ``setup.tf32`` of the trial
    cache: float | None = None  # bytes of the device's last cache
    seconds: float | None = None  # how long measuring this took


class Clock(Struct):
    """Both times of a method, run in another mode than the one that pages show."""

    latency: Timed | None = None  # of one image at a time
    throughput: Throughput | None = None  # of a large batch


class Timing(Struct):
    """The results of the stage that measures speed and memory (timing)."""

    latency: Timed | None = None  # of one image at a time
    throughput: Throughput | None = None  # of a large batch
    capture: Table | None = None  # the mode in which the method ran, if not as it is, and how many images it changed
    eager: Clock | None = None  # the times of the same method when it is not captured (CUDA)
    eager_why: str | None = None  # why a captured method could not be timed eagerly as well
    compiled: Table | None = None  # in old records: how much compilation changed the images
    peak_memory_mb: float | None = None  # of the process
    peak_memory_rise_mb: float | None = None  # how much timing added to the peak
    peak_memory_scope: str | None = None  # since when the peak was taken
    gpu_peak_memory_mb: float | None = None  # most that the process had on the GPU, while the method ran eagerly
    gpu_peak_memory_rise_mb: float | None = None  # how much running eagerly added to what was on the GPU
    noisy: bool | None = None  # whether one of the two times is noisy
    device: str | None = None  # torch's name of the device
    threads: float | None = None  # threads of torch
    wait_policy: str | None = None  # what OpenMP's threads do while they wait
    conditions: list[Table] | None = None  # load, clock, temperature and state of the GPU, before and after
    rates: Rates | None = None  # memory bandwidth and matrix rate of the device
    protocol: Table | None = None  # the settings of the timing protocol, all of them
    session: str | None = None  # trials with the same session were timed in turns
    machine: Table | None = None  # where it was timed


class Sizes(Struct):
    """Numbers of parameters."""

    network: float | None = None  # without the tokenizer
    tokenizer: float | None = None


class Machine(Struct):
    """The machine on which the record was written."""

    host: str | None = None
    processor: str | None = None
    cores: float | None = None
    memory_mb: float | None = None
    gpu: str | None = None
    system: str | None = None


class Provenance(Struct):
    """The origin of the results in a record: code, machine, command, weights and reference."""

    commit: str | None = None  # of the repository
    dirty: bool | None = None  # whether files differed from the commit
    code: str | None = None  # hash of all code that can influence a result
    lock: str | None = None  # hash of the lock file
    machine: Machine | None = None
    versions: Table | None = None  # of Python and of packages
    command: list[str] | None = None  # what was run
    started: str | None = None  # when, in UTC
    finished: str | None = None
    weights: Table | None = None  # hash of each file of weights
    data: str | None = None  # hash of the reference's files
    reference: str | None = None  # key of the reference
    extractors: Table | None = None  # hash of each extractor's weights
    stage_code: Table | None = None  # the code that did each stage
    device: str | None = None  # the device that the run was asked for; what made the images is in `generate`
    images_of: Table | None = None  # the trial of another method that has the same images
    checkpoint: Table | None = None  # the user's own file of weights


class Submission(Struct):
    """Who sent a record that came from somebody else, and when the record was imported and verified."""

    by: str | None = None  # who sent it
    made: str | None = None  # when the record was packed
    file: str | None = None  # sha256 of the file in which the record came
    imported: str | None = None  # when it was admitted
    verified: Table | None = None  # when and where its trial was run again with the same scores


class Record(Struct):
    """A record: everything that is known of one trial."""

    name: str  # the trial in one line
    key: str  # digest of ``identity``
    status: str  # done or failed
    trial: Asked
    identity: Table | None = None  # everything that can influence the record
    failure: Why | None = None
    data: str | None = None  # name of the data set
    method: About | None = None
    generate: Made | None = None  # null on random weights
    quality: Quality | None = None  # type: ignore[valid-type]  # null on random weights
    flops: Flops | None = None
    timing: Timing | None = None  # null until the trial is timed
    parameters: Sizes | None = None
    provenance: Provenance | None = None
    submission: Submission | None = None
    foreign: Table | None = None  # the samples that were scored, if another program made them; then there is no cost


Facts = defstruct(
    "Facts",
    [
        ("is", float | None, None),
        ("label_accuracy", float | None, None),
        ("tokenizers", dict[str, Settings] | None, None),
    ],
)
"""The facts of a store, as harness/run/limits.py describes them."""
