"""``arbench train METHOD --preset imagenet256-...``: the recipes of presets whose data do not ship with us, on a folder
of images, in any number of processes (``harness.scale``)."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from baselines.distillation import DISTILLATION_PLAN
from baselines.generators import generator_recipe
from baselines.single_scale import Bundled
from baselines.sparse_method import SparseVAR
from harness import registry
from harness.errors import ArbenchError
from harness.folders import FolderContext
from harness.recipe import Recipe, train
from harness.scale import MIXED, Processes

OF_PLAN = ("epochs", "batch", "lr", "warmup", "seed")
"""Options that take the place of what the recipe's plan says."""


def recipe_of(method: str, preset: str, out: Path | None, plan: Mapping[str, Any]) -> Recipe:
    """The method's own recipe for a preset: its plan, but for what ``plan`` gives; weights go to ``out``, or to where
    the method looks for its own."""
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
    """Train. ArbenchError for what is missing: data, tokenizer, teacher, or a batch that cannot be cut."""
    if asked.data is None:
        raise ArbenchError(f"preset {asked.preset} trains on a folder of images: --data FOLDER with one folder a class")
    if asked.precision not in MIXED:
        raise ArbenchError(f"--precision {asked.precision!r} is unknown (valid: {', '.join(MIXED)})")
    plan = {name: getattr(asked, name) for name in OF_PLAN if getattr(asked, name) is not None}
    recipe = recipe_of(asked.name, asked.preset, asked.out, plan)
    processes = Processes(asked.precision, asked.accumulate, 60.0 * asked.save_minutes)
    processes.fits(recipe.plan.batch)
    context = FolderContext(recipe.data, asked.runs, asked.data, teacher=asked.teacher, processes=processes)
    train(recipe, context, processes)
    return 0
