"""Recipes for presets whose data are not bundled. The command ``arbench train METHOD --preset imagenet256-...`` runs
such a recipe.

These recipes train on a folder of images, in any number of processes (``harness.training.processes``).
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from baselines.distillation import DISTILLATION_PLAN
from baselines.generators import generator_recipe
from baselines.single_scale import Bundled
from baselines.sparse_method import SparseVAR
from harness import registry
from harness.errors import ArbenchError
from harness.training.folders import FolderContext
from harness.training.processes import MIXED, Processes
from harness.training.recipe import Recipe, train

if TYPE_CHECKING:
    from harness.cluster.training import Launch

OF_PLAN = ("epochs", "batch", "lr", "warmup", "seed")
"""Options that replace values of the recipe's plan."""


def recipe_of(method: str, preset: str, out: Path | None, plan: Mapping[str, Any]) -> Recipe:
    """The recipe of a method for a preset.

    plan: values of the training plan, by name; they replace the values of the recipe's usual plan
    out: the file to which the weights are written; None for the file from which the method loads its weights
    """
    owner = registry.get(method)
    owner.preset_named(preset)
    if not issubclass(owner, Bundled):
        raise ArbenchError(f"method {method} has no recipe: arbench trains its own methods")
    if issubclass(owner, SparseVAR):
        found = owner.recipe(preset, replace(DISTILLATION_PLAN, **plan), images=None)
    else:
        found = generator_recipe(owner, preset)
        found = replace(found, plan=replace(found.plan, **plan))
    return replace(found, weights=out or found.weights, figures=lambda trainee, context: {}, needs=(), data=preset)


def run(asked: argparse.Namespace) -> int:
    """Train. Raises ArbenchError if data, tokenizer or teacher are missing, or if the batch cannot be cut into equal
    parts for all processes."""
    if asked.threads:  # set here, since a job on a cluster starts with this function
        torch.set_num_threads(asked.threads)
    recipe = _recipe(asked)
    processes = Processes(asked.precision, asked.accumulate, 60.0 * asked.save_minutes)
    processes.fits(recipe.plan.batch)
    context = FolderContext(recipe.data, asked.runs, asked.data, teacher=asked.teacher, processes=processes)
    context.must_have(registry.get(asked.name).preset_named(asked.preset).classes, asked.preset)
    if processes.index == 0:
        for note in context.notes():
            print(f"note: {note}", file=sys.stderr)
    train(recipe, context, processes)
    return 0


def launched(asked: argparse.Namespace, how: "Launch") -> int:
    """Start a job on the cluster. Each process of the job calls ``run``."""
    from harness.cluster.training import train as launch  # late: laptops need no submitit

    work = partial(run, argparse.Namespace(**{**vars(asked), "run": None}))
    launch(_recipe(asked).name, work, asked.runs, how, partial(print, file=sys.stderr, flush=True))
    return 0


def _recipe(asked: argparse.Namespace) -> Recipe:
    if asked.data is None:
        raise ArbenchError(f"preset {asked.preset} trains on a folder of images: --data FOLDER with one folder a class")
    if asked.precision not in MIXED:
        raise ArbenchError(f"--precision {asked.precision!r} is unknown (valid: {', '.join(MIXED)})")
    plan = {name: getattr(asked, name) for name in OF_PLAN if getattr(asked, name) is not None}
    return recipe_of(asked.name, asked.preset, asked.out, plan)
