"""Times one side of one model in this process, as ``tests.official.speed`` asks.

Writes one line of JSON: for each batch size, the seconds of each measured generation, labels to images.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from harness import registry
from harness.execution.modes import AUTO, OFF, resolved
from harness.execution.running import running
from harness.inputs import inputs
from harness.machine.arithmetic import arithmetic
from harness.machine.devices import checked, synchronise
from harness.machine.heap import keep_heap
from harness.method import Method, Preset
from harness.setup import PRECISIONS, in_precision
from tests.official.models import MODELS, How, Model, labels, official

PLAIN, CAPTURED, COMPILED = "plain", "captured", "compiled"
Generate = Callable[[], Tensor]


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


def random_method(owner: type[Method], preset: str, precision: str, device: torch.device) -> Method:
    """A method of ours with the random weights of ``fill``, on a device, packed. The weights are the same in every
    process on the same kind of device."""
    torch.manual_seed(0)
    with torch.device(device):  # random values are drawn much faster on a GPU
        method = owner.build(preset).eval()
    fill(method.to(device))
    in_precision(method, precision)
    method.pack()
    return method


def ours(model: Model, preset: Preset, how: How, capture: str) -> Callable[[int], Generate]:
    """Our generation at the preset's own settings, from sampling to images: batch size -> generate.

    capture: as the timing protocol's key (harness.execution.modes).
    """
    owner = registry.get(model.method)
    owner.presets = {**owner.presets, preset.name: preset}
    names = {dtype: name for name, dtype in PRECISIONS.items()}
    method = random_method(owner, preset.name, names[how.dtype], how.device)
    knobs, mode = owner.resolve({}, preset.name), resolved(capture, how.device)

    def of(batch: int) -> Generate:
        classes, noise = inputs(method, 0, range(batch))
        run = running(method, knobs, preset.sampling, (classes, noise), mode)
        return lambda: run.decode(run.sample(classes, noise).tokens)

    return of


@contextmanager
def as_their_scripts() -> Iterator[None]:
    """Inside the ``with``, torch's settings are those of the authors' scripts, such as LlamaGen's sample_c2i.py.

    They switch TF32 on by torch's older interface. torch.compile refuses a process that has used both interfaces, so
    ``arithmetic``, which uses the newer one, must not have set anything.
    """
    matmul, cudnn, precision = torch.backends.cuda.matmul, torch.backends.cudnn, torch.get_float32_matmul_precision()
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        matmul.allow_tf32, cudnn.allow_tf32 = before


def theirs(model: Model, checkout: Path, preset: Preset, how: How) -> Callable[[int], Generate]:
    """The authors' generation at their settings: batch size -> generate."""
    built = official(model, checkout, preset, how)
    fill(built.network, built.tokenizer)
    return lambda batch: lambda: built.generate(labels(batch, how.device), *model.settings)


def timed(generate: Generate, batch: int, repeats: int, device: torch.device) -> list[float]:
    """Seconds of ``repeats`` generations, after one that warms up. The device is synchronised around each.

    SystemExit if what is generated are no images.
    """
    seconds = []
    for turn in range(1 + repeats):
        synchronise(device)
        start = time.perf_counter()
        images = generate()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
        if images.shape != (batch, 3, 256, 256) or not torch.isfinite(images).all():
            raise SystemExit(f"generation {turn} gave {tuple(images.shape)}, or values that are not finite")
    return seconds[1:]


def main() -> None:
    """Build, warm up, time."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--checkout", type=Path, help="the authors' code; without it, ours is timed")
    parser.add_argument("--how", choices=(PLAIN, CAPTURED, COMPILED), default=PLAIN)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", required=True)
    parser.add_argument("--batch", type=int, nargs="+", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--repeats", type=int, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.checkout is None:
        keep_heap()  # as every process of ``arbench run`` does
    model = MODELS[asked.model]
    preset = with_layers(registry.get(model.method).preset_named(model.preset), asked.layers)
    how = How(PRECISIONS[asked.precision], checked(asked.device), asked.how == COMPILED)
    # What the authors compile runs without gradients, as in their scripts; inference mode is another thing to compile.
    mode = torch.no_grad() if how.compiled else torch.inference_mode()
    with mode, arithmetic("off") if asked.checkout is None else as_their_scripts():
        if asked.checkout is None:
            generate = ours(model, preset, how, AUTO if asked.how == CAPTURED else OFF)
        else:
            generate = theirs(model, asked.checkout.resolve(), preset, how)
        found = {batch: timed(generate(batch), batch, asked.repeats, how.device) for batch in asked.batch}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
