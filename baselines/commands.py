"""The commands ``arbench train`` and ``arbench new-method``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli import cluster as cli_cluster
from harness.cli.options import above_zero, count, not_negative
from harness.errors import ArbenchError

if TYPE_CHECKING:
    from harness.training.recipe import Recipe


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both commands to the command line of arbench."""
    _add_new_method(subparsers)
    about = "train bundled weights from their seed; goes on where a killed run stopped"
    parser = subparsers.add_parser("train", help=about, description=f"{about[0].upper()}{about[1:]}.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("name", nargs="?", metavar="NAME", help="a method, or a recipe in full, as vq-fmnist")
    what.add_argument("--all", action="store_true", help="every recipe, each after those it needs, but those finished")
    parser.add_argument("--preset", default="fmnist", help="preset of the method (default: %(default)s)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder with the training images: fmnist's published .gz files, or one folder of images a class",
    )
    parser.add_argument("--download", type=Path, metavar="DIR", help="folder to fetch the training images into")
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="folder of logs and state (default: %(default)s)",
    )
    parser.add_argument("--threads", type=count(1), metavar="N", help="threads of torch (default: torch's own choice)")
    _add_scale(parser)
    cli_cluster.add_options(parser, "in one job of a scheduler, a process for each of its tasks")
    parser.set_defaults(run=run)


def _add_new_method(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("new-method", help="write a package that adds a method: a working one to start from")
    parser.add_argument("name", metavar="NAME", help="the method's name: small letters, digits, dashes")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to make (default: ./NAME)")
    parser.set_defaults(run=_new_method)


def _new_method(asked: argparse.Namespace) -> None:
    from baselines.new_method import write

    folder = asked.out or Path(asked.name)
    print("\n".join(str(path) for path in write(asked.name, folder)))
    print(f"next: python3 -m pip install --no-build-isolation --no-deps --editable {folder}")


def _add_scale(parser: argparse.ArgumentParser) -> None:
    scale = parser.add_argument_group(
        "presets other than fmnist",
        "in one process, or in several by accelerate launch or torchrun: docs/gpu.md",
    )
    scale.add_argument("--teacher", type=Path, metavar="FILE", help="weights to distil from (default: the published)")
    scale.add_argument("--out", type=Path, metavar="FILE", help="weights to write (default: in ARBENCH_WEIGHTS)")
    scale.add_argument("--epochs", type=count(1), metavar="N", help="in place of the recipe's, as the next four")
    scale.add_argument("--batch", type=count(1), metavar="N", help="images a step, of all processes together")
    scale.add_argument("--lr", type=above_zero, metavar="X")
    scale.add_argument("--warmup", type=count(1), metavar="STEPS")
    scale.add_argument("--seed", type=count(1), metavar="N")
    scale.add_argument(
        "--accumulate", type=count(1), default=1, metavar="N", help="parts a process cuts its share of a batch into"
    )
    scale.add_argument("--precision", default="bf16", metavar="P", help="bf16 or fp32 (default: %(default)s)")
    scale.add_argument(
        "--save-minutes", type=not_negative, default=20, metavar="M", help="between saved states (default: %(default)s)"
    )


def run(asked: argparse.Namespace) -> int:
    """Train what was asked for.

    Raises ArbenchError if there is no such recipe, or if the recipe's data or needed weights are missing.
    """
    import torch  # late: --help needs no torch

    from harness.training.recipe import Context, finished, train

    if asked.threads:
        torch.set_num_threads(asked.threads)
    launch = cli_cluster.launch(asked)
    if not asked.all and _at_scale(asked):
        from baselines import at_scale  # late: accelerate takes seconds to import

        return at_scale.run(asked) if launch is None else at_scale.launched(asked, launch)
    if launch is not None:
        raise ArbenchError("--cluster is for one method's preset whose images come by --data: docs/gpu.md")
    for recipe in _chosen(asked):
        if asked.all and finished(recipe, asked.runs):
            print(f"{recipe.name}: finished before (remove {asked.runs / recipe.name} to train it again)", flush=True)
        else:
            train(recipe, Context(recipe.data, asked.runs, asked.data, asked.download))
    return 0


def _at_scale(asked: argparse.Namespace) -> bool:
    """Whether the user asks for a method and a preset that have no bundled recipe.

    The user must then provide the images. Raises ArbenchError for an unknown preset.
    """
    from harness import registry
    from harness.training.recipe import recipes

    if asked.name not in registry.names():
        return False
    registry.get(asked.name).preset_named(asked.preset)
    return f"{asked.name}-{asked.preset}" not in recipes()


def _chosen(asked: argparse.Namespace) -> "Sequence[Recipe]":
    from harness import registry
    from harness.training.recipe import recipe_named, recipes

    if asked.all:
        return list(recipes().values())
    if asked.name in registry.names():
        registry.get(asked.name).preset_named(asked.preset)
        return [recipe_named(f"{asked.name}-{asked.preset}")]
    return [recipe_named(asked.name)]
