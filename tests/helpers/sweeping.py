"""A whole benchmark in small, to run sweeps with: a fake method with weights, a data set of 4x4 images, an extractor.

``python -m tests.helpers.sweeping run ...`` is the arbench command with these in place. Worker processes import the
main module again, so the replacements below hold in them too. Environment variables make the method misbehave.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from harness import cli, registry
from harness.checkpoints.tensors import read_weights, write_weights
from harness.cli import command
from harness.errors import ArbenchError, unknown
from harness.extractors import by_name
from harness.extractors.base import Extractor
from harness.hashing import weights_sha256
from harness.identity import provenance, source
from harness.images.datasets import Images
from harness.jobs import bench
from harness.method import Generated, Knob, KnobValue, Preset, Provenance
from harness.run import limits as store_limits
from harness.sampling import Sampling
from harness.setup import Setup
from tests.helpers.fakes import CLASSES, FakeMethod

WEIGHTS = "ARBENCH_FAKE_WEIGHTS"
"""The file that the method loads; made by ``make_weights``."""
LOG = "ARBENCH_FAKE_LOG"
"""A file to which every sampled batch adds a line: number of images, knob ``steps``, first uniform."""
SLEEP = "ARBENCH_FAKE_SLEEP"
"""Seconds that every shard takes longer; other stages, which sample batches of other sizes, do not."""
DARK = "ARBENCH_FAKE_DARK"
"""What a trial with shade=dark does: ``raise``, ``die`` or ``starve`` (of memory); ``by warmth``: as TEMPERS says."""
TEMPERS = {0.25: "raise", 0.5: "die", 0.75: "starve"}
LOST = "ARBENCH_FAKE_LOST"
"""The weights file of preset ``lost``."""
BEGUN = "ARBENCH_FAKE_BEGUN"
"""A file to which every batch adds a line before it is sampled."""

SWEEP = """
preset = "tiny"
images = 28
[timing]
warmup = 1
min_rounds = 1
max_rounds = 1
throughput_batch = 3
[method.fake]
grid = { steps = [1, 2, 4] }
"""
BATCH = COMPUTED = 7
"""Images a shard, all of them computed at once. No other stage samples so many."""
PR_SET_PDEATHSIG = 1
"""Linux's number, from <sys/prctl.h>."""


class SweepMethod(FakeMethod):
    """The fake method with a weights file and a bad temper."""

    name: ClassVar[str] = "fake"
    knobs: ClassVar[tuple[Knob, ...]] = (*FakeMethod.knobs, Knob("warmth", "float", 0.0, "does nothing", low=0, high=1))
    presets: ClassVar[Mapping[str, Preset]] = {
        name: Preset(
            name, "tiny", "fake", {}, Sampling(cfg=1.5), CLASSES, (1, 4, 4), setup=Setup(compute_batch=COMPUTED)
        )
        for name in ("tiny", "lost")
    }

    @classmethod
    def weight_files(cls, preset: str) -> tuple[Path, ...]:
        return (Path(os.environ[LOST if preset == "lost" else WEIGHTS]),)

    @classmethod
    def load(cls, preset: str, checkpoint: Path | None = None) -> "SweepMethod":
        method = cls.build(preset)
        path = checkpoint or Path(os.environ[LOST if preset == "lost" else WEIGHTS])
        read_weights(path, method)
        method.provenance = Provenance(weights_sha256([path]))
        return method

    @classmethod
    def build(cls, preset: str) -> "SweepMethod":
        cls.preset_named(preset)
        return cls()

    def sample(self, labels: Tensor, noise: Tensor, knobs: Mapping[str, KnobValue], sampling: Sampling) -> Generated:
        line = f"{len(labels)} {knobs['steps']} {float(noise[0, 0])!r} {knobs['warmth']}\n"
        _add_line(BEGUN, line)
        if len(labels) == COMPUTED:
            time.sleep(float(os.environ.get(SLEEP, "0")))
        temper = os.environ.get(DARK, "")
        if knobs["shade"] == "dark":
            _misbehave(TEMPERS.get(float(knobs["warmth"]), "") if temper == "by warmth" else temper)
        _add_line(LOG, line)
        return super().sample(labels, noise, knobs, sampling)


def _add_line(variable: str, line: str) -> None:
    if variable in os.environ:
        with Path(os.environ[variable]).open("a", encoding="utf-8") as file:
            file.write(line)


def _misbehave(temper: str) -> None:
    match temper:
        case "raise":
            raise RuntimeError("too dark\nto see")
        case "die":  # as the kernel ends a process that has taken all memory
            print("a last word", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        case "starve":
            limits = resource.getrlimit(resource.RLIMIT_AS)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, limits[1]))
            try:
                torch.empty(2**34, dtype=torch.uint8)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, limits)


class TinyExtractor(Extractor):
    """A random projection of 4x4 images."""

    architecture = "projection"

    def __init__(self) -> None:
        network = nn.Linear(16, 6 + CLASSES)
        with torch.no_grad():
            network.weight.copy_(torch.randn(6 + CLASSES, 16, generator=torch.Generator().manual_seed(1)))
            network.bias.zero_()
        super().__init__("tiny", network, Path("tiny"))

    @torch.inference_mode()
    def features(self, images: Tensor) -> dict[str, Tensor]:
        found = self.network(images.flatten(1).float() / 255)
        return {"features": found[:, :6], "logits": found[:, 6:]}


class Point:
    """An entry point of the fake method."""

    name, value, module = "fake", "tests.helpers.sweeping:SweepMethod", "tests.helpers.sweeping"

    def load(self) -> type[SweepMethod]:
        import tests.helpers.sweeping

        return tests.helpers.sweeping.SweepMethod  # not __main__'s, which other processes do not know


def tiny_images(name: str) -> Images:
    """The data set ``tiny``: 40 random images."""
    if name != "tiny":
        raise unknown("data set", name, ["tiny"])
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (40, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return Images(images, torch.arange(40) % CLASSES, "the tiny data")


def load_extractor(name: str, weights: Path | None = None) -> TinyExtractor:
    """The tiny extractor under whatever name but ``lost``."""
    if name == "lost":
        raise ArbenchError("cannot read weights lost.safetensors")
    return TinyExtractor()


@contextmanager
def in_place() -> Iterator[pytest.MonkeyPatch]:
    """The small benchmark in the place of the real one, inside the ``with``."""
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        yield patch
    _forget_methods()


@contextmanager
def in_folder(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """``in_place``, with the fake method's weights and a sweep of three trials, small.toml, in a folder."""
    with in_place() as patch:
        patch.setenv(WEIGHTS, str(make_weights(folder / "fake.safetensors")))
        (folder / "small.toml").write_text(SWEEP)
        yield patch


def install(patch: pytest.MonkeyPatch) -> None:
    """Put the small benchmark in the place of the real one."""
    patch.setattr(registry, "_points", lambda: {"fake": Point()})
    patch.setattr(command, "entry_points", lambda group: ())
    patch.setattr(store_limits, "recipes", dict)
    patch.setattr(bench, "reference_images", tiny_images)
    patch.setattr(by_name, "load", load_extractor)
    patch.setattr(by_name, "known", lambda name, source: name)
    _forget_methods()


def _forget_methods() -> None:
    """What is kept of the methods that are installed: themselves, their packages' code, and what records say of it."""
    for cached in (registry.get, source.code_sha256, source._hashes, provenance.gather):
        cached.cache_clear()


def make_weights(path: Path) -> Path:
    """Write the method's weights; returns the path."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        write_weights(path, SweepMethod().state_dict(), {})
    return path


def forked(run: Callable[[], int], kill_after: float | None = None) -> int:
    """Run in a fork of this process, which has loaded torch already; kill -9 it after some seconds."""
    child = fork(run)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return exit_code(child)


def fork(run: Callable[[], int]) -> int:
    """Run in a fork of this process, which dies with it; its process id."""
    child = os.fork()
    if not child:
        code = 99
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            torch.set_num_threads(1)
            code = run()
        finally:
            os._exit(code)
    return child


def exit_code(child: int) -> int:
    """Wait for a child; its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ in ("__main__", "__mp_main__"):
    install(pytest.MonkeyPatch())

if __name__ == "__main__":
    sys.exit(cli.main())
