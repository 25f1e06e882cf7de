"""Times one side of one model in this process, as ``tests.speed.compare`` asks.

Writes one line of JSON: seconds of each measured generation.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from tests.speed.models import MODELS, official, ours


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
    model = MODELS[asked.model]
    with torch.inference_mode():
        if asked.checkout is None:
            generate = ours(model, asked.layers, asked.precision, asked.batch)
        else:
            generate = official(model, asked.checkout.resolve(), asked.layers, asked.precision, asked.batch)
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
