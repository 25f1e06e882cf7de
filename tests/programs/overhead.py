"""``nox -s overhead``: what the harness adds to a bare sampling loop of the same method.

Shard by shard, in an order that changes, the same images are made twice: by a loop that only samples, decodes and
rounds to bytes, and by the harness, from its queue to the shard's file. Looking at the images (the extractor) is no
overhead but a measurement, and is taken out; merging the shards at the end is added.
"""

import argparse
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from harness.extractors import by_name
from harness.inputs import labels
from harness.jobs import loading
from harness.jobs.bench import Bench
from harness.jobs.executors import Here
from harness.jobs.plan import Instrument, Job, TrialPlan, plan
from harness.noise import uniforms
from harness.records.store import Store
from harness.setup import compute_batches, to_uint8
from harness.stages.timing.intervals import centre_interval
from harness.stages.timing.protocol import Protocol
from harness.trial import Trial


@dataclass
class Overhead:
    """Seconds, one a shard: of the bare loop, of the harness without the extractor, of the extractor; of merging."""

    bare: list[float] = field(default_factory=list)
    harness: list[float] = field(default_factory=list)
    extractor: list[float] = field(default_factory=list)
    merging: float = 0.0

    @property
    def share(self) -> tuple[float, float, float]:
        """Overhead as a share of generation, and its 95 % interval."""
        found = centre_interval([ours / bare - 1 for ours, bare in zip(self.harness, self.bare, strict=True)])
        middle, low, high = (end + self.merging / sum(self.bare) for end in found)
        return middle, low, high


def measured(trial: Trial, batch: int, folder: Path, tell: Callable[[str], None] = print) -> Overhead:
    """Make a trial's images twice, in shards of ``batch``; the harness's files go to ``folder``."""
    store, data = Store(folder), trial.owner.preset_named(trial.preset).data
    store.prepare()
    named = ((by_name.usual(data), None),)
    bench = Bench(named, folder / "references")
    instrument = Instrument(named, {data: bench.references(data)}, Protocol())
    planned = plan(trial, instrument, store)
    warm = plan(Trial.of(**{**trial.settings(), "seed": trial.seed + 1}), instrument, store)
    method, (extractor,) = loading.load(planned), bench.extractors()
    found = Overhead()

    def bare(indices: range) -> list[torch.Tensor]:
        made = []
        with torch.inference_mode():
            for batch in compute_batches(indices, trial.setup.compute_batch):
                asked = labels(trial.setup.labels, trial.seed, batch, method.preset.classes)
                noise = uniforms(trial.seed, batch, method.positions)
                tokens = method.sample(asked, noise, trial.knobs, trial.sampling).tokens
                made.append(to_uint8(method.decode(tokens), trial.setup.uint8))
        return made

    def by_harness(indices: range, into: TrialPlan = planned) -> None:
        for _, failure in Here(bench).run(deque([Job(into, "generate", indices)])):
            assert failure is None, failure

    shards = list(planned.shards.missing(batch))
    by_harness(shards[0], warm)
    images = bare(shards[0])

    def look(indices: range) -> None:
        for batch, _ in zip(images, compute_batches(indices, trial.setup.compute_batch), strict=False):
            extractor.see(batch)

    look(shards[0])
    for turn, indices in enumerate(shards):
        both: list[Callable[[range], object]] = [bare, by_harness]
        spent = {make: _seconds(partial(make, indices)) for make in (both if turn % 2 else reversed(both))}
        alone, whole = (spent[make] for make in both)
        looking = _seconds(partial(look, indices))
        found.bare.append(alone)
        found.harness.append(whole - looking)
        found.extractor.append(looking)
        tell(f"{indices.stop} images: bare {alone:.3f} s, harness {whole:.3f} s, {looking:.3f} s of it looking")
    found.merging = _seconds(lambda: bench.generated(planned))
    return found


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="nox -s overhead --")
    parser.add_argument("method", nargs="?", default="var", metavar="METHOD")
    parser.add_argument("--preset", default="fmnist", metavar="P")
    parser.add_argument("--images", type=int, default=10_000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=250, metavar="N", help="images a shard (default: %(default)s)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="arbench-overhead-") as folder:
        found = measured(Trial.of(asked.method, asked.preset, images=asked.images), asked.batch, Path(folder))
    middle, low, high = found.share
    looking = sum(found.extractor) / sum(found.bare)
    print(
        f"{asked.images} images of {asked.method}: bare loop {sum(found.bare):.1f} s; the harness adds {middle:+.2%} "
        f"({low:+.2%} to {high:+.2%}), merging {found.merging:.2f} s included; looking at the images: {looking:.2%}"
    )


if __name__ == "__main__":
    main()
