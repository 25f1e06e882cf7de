"""Times one side of one model in this process, as ``tests.official.speed`` asks.

Writes one line of JSON: seconds of each measured generation, labels to images.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from harness import registry
from harness.inputs import inputs
from harness.machine.heap import keep_heap
from harness.method import Preset
from harness.setup import PRECISIONS, in_precision
from tests.official.models import MODELS, Model, labels, official


def fill(*modules: nn.Module) -> None:
    """Random weights of one kind for both sides: no zeros that would make arithmetic cheap, nothing left unset."""
    torch.manual_seed(0)
    with torch.no_grad():
        for module in modules:
            for name, own in module.named_parameters():
                if own.ndim > 1:
                    own.normal_(std=0.02)
                elif name.endswith("bias"):
                    own.zero_()


def with_layers(preset: Preset, layers: int | None) -> Preset:
    """The preset, or a shallow one to try things out with."""
    if layers is None:
        return preset
    width = {"dim": 64 * layers, "heads": layers} if "var" in preset.weights else {}
    return replace(preset, network={**preset.network, "layers": layers, **width})


def ours(model: Model, preset: Preset, precision: str, batch: int) -> Callable[[], Tensor]:
    """Our generation: sampling at the preset's own settings and decoding."""
    owner = registry.get(model.method)
    owner.presets = {**owner.presets, preset.name: preset}
    method = owner.build(preset.name).eval()
    fill(method.network, method.tokenizer)
    in_precision(method, precision)
    method.pack()
    knobs, sampling = owner.resolve({}, preset.name), preset.sampling
    classes, noise = inputs(method, 0, range(batch))
    return lambda: method.decode(method.sample(classes, noise, knobs, sampling).tokens)


def theirs(model: Model, checkout: Path, preset: Preset, precision: str, batch: int) -> Callable[[], Tensor]:
    """The authors' generation at their settings."""
    built = official(model, checkout, preset, PRECISIONS[precision])
    fill(built.network, built.tokenizer)
    return lambda: built.generate(labels(batch), *model.settings)


def main() -> None:
    """Build, warm up, time."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--checkout", type=Path, help="the authors' code; without it, ours is timed")
    parser.add_argument("--precision", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--repeats", type=int, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.checkout is None:
        keep_heap()  # as every process of ``arbench run`` does
    model = MODELS[asked.model]
    preset = with_layers(registry.get(model.method).preset_named(model.preset), asked.layers)
    with torch.inference_mode():
        if asked.checkout is None:
            generate = ours(model, preset, asked.precision, asked.batch)
        else:
            generate = theirs(model, asked.checkout.resolve(), preset, asked.precision, asked.batch)
        seconds = []
        for turn in range(1 + asked.repeats):
            start = time.perf_counter()
            images = generate()
            seconds.append(time.perf_counter() - start)
            if images.shape != (asked.batch, 3, 256, 256) or not torch.isfinite(images).all():
                raise SystemExit(f"generation {turn} gave {tuple(images.shape)}, or values that are not finite")
    print(json.dumps(seconds[1:]))


if __name__ == "__main__":
    main()
