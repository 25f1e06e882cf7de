"""Ours against the authors' code, side by side: ``python -m tests.official.equal VAR DIR [--preset imagenet256-d20]``.

Both get the same random weights, through a file with the published names and shapes, which ours loads strictly. Held
against each other: teacher-forced logits, the guided logits of every step and the tokens of greedy sampling, the images
decoded from them, and the encoder's vectors. One model a process, since the checkouts' packages have the same names.
Exit code 1 if a figure is out of bounds. ``--device cuda`` compares on a GPU, in fp32 without TF32.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.tokenizers.convnet import to_unit
from baselines.tokenizers.published import PUBLISHED
from harness import registry
from harness.checkpoints.published import VARIABLE
from harness.machine.arithmetic import arithmetic
from harness.machine.devices import checked
from tests.helpers.published import published_state, uniform
from tests.official.models import MODELS, How, Official, official
from tests.programs.gpu import known

LOGITS, PIXELS, TOKENS = 1e-4, 1 / 255, 1.0
SAMPLERS = {"raster": "baselines.raster", "ear": "baselines.next_set", "var": "baselines.var"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare one model; print the figures."""
    parser = argparse.ArgumentParser(prog="nox -s equal --", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("checkout", type=Path, help="the authors' code")
    parser.add_argument("--preset", help="another size than the smallest")
    parser.add_argument("--packages", type=Path, help="where timm and einops are, for EAR")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu or cuda (default: %(default)s)")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        # Where arbench is not installed, such as on a borrowed machine, its methods are made known.
        known.add_packages(Path(folder) / "packages", asked.packages)
        known.make_known(Path(folder) / "known")
        return _compared(asked)


def _compared(asked: argparse.Namespace) -> int:
    """Compare one model; print the figures."""
    model = MODELS[asked.model]
    owner: Any = registry.get(model.method)
    preset = owner.preset_named(asked.preset or model.preset)
    device = checked(asked.device)
    found = official(model, asked.checkout.resolve(), preset, How(device=device))
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(), arithmetic("off"):
        os.environ[VARIABLE] = folder
        # The file that the preset names may not be published (LlamaGen XL at 256 pixels): any name will do then.
        file = Path(folder) / (preset.weights or "network.pt")
        _write(found.network, file, preset)
        _write(found.tokenizer, Path(folder) / PUBLISHED[preset.tokenizer].file, preset)
        method: Any = owner.load(preset.name, None if preset.weights else file).to(device)
        faults = [not _line(*row) for row in _figures(method, found, asked.batch, model.settings[0])]
    return int(any(faults))


def _write(module: nn.Module, path: Path, preset: Any) -> None:
    """Fill the authors' module with random weights and write them as published."""
    own = module.state_dict()
    fixed = {name: value for name, value in own.items() if not value.is_floating_point() or name.endswith("_masking")}
    random = published_state({name: value.shape for name, value in own.items() if name not in fixed})
    module.load_state_dict({**fixed, **random})
    saved = {name: value.cpu() for name, value in module.state_dict().items()}
    torch.save({"model": saved} if path.suffix == ".pt" else saved, path)


def _line(what: str, value: float, bound: float) -> bool:
    """Print a figure; whether it is within its bound (tokens: at least, all else: at most)."""
    good = value >= bound if what.startswith("same") else value <= bound
    print(f"{what:<44} {value:<12.3g} {'at least' if what.startswith('same') else 'at most'} {bound:.3g}"
          f"{'' if good else '  MISSED'}", flush=True)  # fmt: skip
    return good


def _figures(method: Any, found: Official, batch: int, cfg: float) -> Iterator[tuple[str, float, float]]:
    device = next(method.network.parameters()).device
    labels = torch.arange(batch, device=device) * 7
    vocabulary, positions = method.preset.network["vocabulary"], method.positions
    tokens = torch.from_numpy((uniform("tokens", (batch, positions)) + 1) / 2 * vocabulary).long().to(device)
    theirs, own = found.teacher_forced(tokens, labels), _teacher_forced(method, tokens, labels)
    yield "teacher-forced logits, largest difference", _largest(theirs, own), LOGITS

    with found.watched() as seen:
        images = found.generate(labels, cfg, 1, 1.0)
    knobs = type(method).resolve({}, method.preset.name)
    # VAR's cfg is t in (1 + t) c - t u, ours the factor of c.
    sampling = replace(method.preset.sampling, cfg=cfg + (method.name == "var"), top_k=1, top_p=1.0)
    noise = torch.full((batch, positions), 0.5, dtype=torch.float64, device=device)
    with watched(method) as steps:
        drawn = method.sample(labels, noise, knobs, sampling).tokens
    order = getattr(method.network, "order", None)
    logits, greedy = (torch.cat(part, 1) for part in zip(*seen, strict=True))
    same = greedy == (drawn if order is None else drawn[:, order])
    yield "same greedy tokens, share", same.double().mean().item(), TOKENS
    yield "step logits, largest difference", _largest(logits, torch.cat(steps, 1)), LOGITS
    expected = images if method.name == "var" else to_unit(images)
    yield "decoded images, largest difference", _largest(expected, method.decode(drawn)), PIXELS

    pixels = torch.from_numpy(uniform("images", (1, 3, *images.shape[2:]))).to(device)
    vectors = _encoded(found.tokenizer, pixels)
    yield "encoder's vectors, largest difference", _largest(vectors, method.tokenizer.encoder(pixels)), 1e-3


def _largest(a: Tensor, b: Tensor) -> float:
    return (a.reshape(b.shape) - b).abs().max().item()


def _teacher_forced(method: Any, tokens: Tensor, labels: Tensor) -> Tensor:
    network = method.network
    if method.name == "var":
        found = network.logits(method.quantiser.inputs(tokens), labels)
    elif method.name == "ear":
        found = network.logits(tokens, labels, method.sizes(type(method).resolve({}, method.preset.name)))
    else:
        found = network.logits(tokens, labels)
    logits: Tensor = found
    return logits


def _encoded(tokenizer: Any, pixels: Tensor) -> Tensor:
    """[B, codes, side, side], as each of the three encoders gives it."""
    found = tokenizer.encoder(pixels)
    if found.ndim == 3:  # a transformer's tokens
        side = int(found.shape[1] ** 0.5)
        found = found.transpose(1, 2).unflatten(-1, (side, side))
    vectors: Tensor = tokenizer.quant_conv(found)
    return vectors


@contextmanager
def watched(method: Any) -> Iterator[list[Tensor]]:
    """Inside the ``with``: the guided logits [B, n, V] of every step of ours.

    A sampler calls ``guide`` or, in a loop whose steps a GPU can replay, ``guide_by``.
    """
    module: Any = import_module(SAMPLERS[method.name])
    kept = {name: getattr(module, name) for name in ("guide", "guide_by") if hasattr(module, name)}
    steps = list[Tensor]()

    def spy(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def spied(*arguments: Any) -> Tensor:
            guided = function(*arguments)
            steps.append(guided if guided.ndim == 3 else guided[:, None])
            return guided

        return spied

    for name, function in kept.items():
        setattr(module, name, spy(function))
    try:
        yield steps
    finally:
        for name, function in kept.items():
            setattr(module, name, function)


if __name__ == "__main__":
    sys.exit(main())
