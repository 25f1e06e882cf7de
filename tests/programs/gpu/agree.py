"""The parts ``cpu`` and ``inception``: do CPU and GPU make the same images, scores and features?"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.execution.modes import OFF, resolved
from harness.extractors.base import FMNIST_CNN, Extractor
from harness.extractors.by_name import load
from harness.hashing import sha256
from harness.images.datasets import Images, reference_images
from harness.stages.figures import flat
from harness.stages.generate.shards import Arrays
from harness.stages.generate.stage import seen_by
from harness.stages.quality import stage as quality
from harness.stages.quality.reference import Reference
from harness.stages.quality.reference_data import reference_for
from harness.trial import Trial
from tests.programs.gpu.known import USEFUL, missing
from tests.programs.gpu.lines import Bound, Line, judged, not_measured
from tests.programs.gpu.parts import Bench, broke
from tests.programs.gpu.trials import Maker, fmnist_trials

CPU = torch.device("cpu")
ALIKE = Bound(least=0.99, unit="%")
OUTSIDE = Bound(most=0)
FEATURES = Bound(most=1e-5)
SIDE = 256
"""Pixels of the images that Inception sees."""


def images(bench: Bench) -> Iterator[Line]:
    """fmnist's trials in fp32 on the CPU and on the device: the share of images with the same tokens, and scores."""
    extractors = {device: load(FMNIST_CNN) for device in {CPU, bench.device}}
    for device, extractor in extractors.items():
        extractor.network.to(device)
    whole, count = reference_images("fmnist"), bench.settings.reference
    some = Images(whole.images[:count], whole.labels[:count], f"{whole.sha256}, first {count}") if count else whole
    reference = reference_for(some, extractors[CPU], bench.folder / "references")
    capture = resolved(bench.settings.capture, bench.device)
    found = bench.figures["cpu"] = {}
    for trial in fmnist_trials(bench.settings, "fp32", *bench.settings.images):
        try:
            ours = _made(trial, CPU, OFF, extractors[CPU])
            theirs = _made(trial, bench.device, capture, extractors[bench.device])
        except Exception as error:  # one trial's fault must not cost the others their results
            yield broke(bench, "3", f"{trial.name} on CPU and GPU", error)
            continue
        alike = float((ours["fingerprints"] == theirs["fingerprints"]).mean())
        found[trial.name] = {"alike": alike, **outside(_scored(ours, reference), _scored(theirs, reference))}
        yield from lines_of(short(trial), found[trial.name])


def short(trial: Trial) -> str:
    """The method of a trial and what is set of its knobs."""
    default = trial.owner.resolve({}, trial.preset)
    knobs = [f"{name} {value:g}" for name, value in trial.knobs.items() if value != default[name]]
    return f"fmnist, {', '.join([trial.method, *knobs])}"


def lines_of(name: str, found: Mapping[str, Any]) -> list[Line]:
    """The lines of a trial in the part ``cpu``. found: ``alike`` and what ``outside`` gives."""
    out = found["outside"]
    words = f"of {found['scores']}" + (f" ({', '.join(out)})" if out else "")
    return [
        judged("3", f"{name}, fp32: same images on CPU and GPU", ALIKE, found["alike"]),
        judged("3", f"{name}, fp32: scores on the GPU outside of the CPU's intervals", OUTSIDE, len(out), words),
    ]


def _made(trial: Trial, device: torch.device, capture: str, extractor: Extractor) -> Arrays:
    return Maker(trial, device, capture, (extractor,)).shard(range(trial.images))


def _scored(arrays: Arrays, reference: Reference) -> dict[str, Any]:
    return quality.measure(seen_by(arrays), arrays["labels"], reference).figures


def outside(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """``scores``: how many scores of ``theirs`` were held against the intervals of ``ours``; ``outside``: the names of
    those that lie outside. Both are ``quality`` parts of records."""
    ends, values = flat(ours["intervals"]), flat(theirs)
    names = [name for name, interval in ends.items() if interval is not None and values.get(name) is not None]
    out = [name for name in names if not ends[name][0] <= values[name] <= ends[name][1]]
    return {"scores": len(names), "outside": out}


def inception(bench: Bench) -> list[Line]:
    """Inception's features of the same images on the CPU and on the device."""
    title = "Inception's features on the GPU against the CPU's"
    if missing(("torch_fidelity",)):
        return [not_measured("4", title, f"torch-fidelity is not installed: {USEFUL['torch_fidelity']}")]
    weights = "given weights" if bench.inception else "random weights"
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, 256, (bench.settings.pictures, 3, 8, 8), generator=generator, dtype=torch.uint8)
    pictures = blocks.repeat_interleave(SIDE // 8, 2).repeat_interleave(SIDE // 8, 3)
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        extractor = _inception(bench.inception, Path(folder))
    before = extractor.see(pictures)
    extractor.network.to(bench.device)
    after = extractor.see(pictures.to(bench.device))
    apart = {name: relative(before[name], after[name]) for name in before}
    bench.figures["inception"] = {"weights": weights, "apart": apart}
    worst = max(apart, key=lambda name: apart[name])
    return [judged("4", f"{title}, {weights}: relative difference", FEATURES, apart[worst], f"({worst})")]


def _inception(path: Path | None, folder: Path) -> Extractor:
    from harness.extractors.inception import load_inception  # late: it may lack a package, which is then said
    from tests.helpers.inception import random_weights

    if path is not None:
        return load_inception(path)
    made = random_weights(folder)
    return load_inception(made, sha256(made))


def relative(one: Tensor, other: Tensor) -> float:
    """The size of the difference, as a share of the size of ``one``."""
    first, second = one.double().numpy(), other.double().numpy()
    return float(np.linalg.norm(first - second) / np.linalg.norm(first))
