"""Recipes: how each set of bundled weights comes about. ``arbench train NAME`` runs one, ``nox -s retrain`` all of
them.

A package offers its recipes under the entry-point group ``arbench.recipes``. Weights are written with metadata: the
plan (with its seed), the data's hash, the code's commit, the figures reached, and the loss curve's last line.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness import files
from harness.checkpoints.tensors import write_weights
from harness.errors import ArbenchError, unknown
from harness.hashing import sha256
from harness.identity.provenance import source_commit
from harness.images.datasets import Images, reference_images, training_images
from harness.machine.heap import keep_heap
from harness.training.loop import Alone, Crew, Plan, Trainee, fit

GROUP = "arbench.recipes"


@dataclass(frozen=True)
class Context:
    """What a recipe works with: the data set's name, where its training images are, a folder for runs and caches, and
    the weights of the teacher that a student is distilled from, where they are not the bundled or published ones."""

    data_name: str
    runs: Path
    data: Path | None = None
    download: Path | None = None
    teacher: Path | None = None

    @cached_property
    def training(self) -> Images:
        """The training images."""
        return training_images(self.data_name, self.data, self.download)

    @cached_property
    def reference(self) -> Images:
        """The images held out from training."""
        return reference_images(self.data_name)

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return torch.device("cpu")

    @cached_property
    def data_sha256(self) -> str:
        """What tells the training images from others."""
        return self.training.sha256


@dataclass(frozen=True)
class Recipe:
    """One set of weights.

    prepare: gives the trainee and the columns of data to fit it on; export: the module whose state is saved;
    figures: what was reached, measured on the held-out images; needs: recipes that must have been run before; data: the
    data set's name.
    """

    name: str
    weights: Path
    plan: Plan
    prepare: Callable[[Context], tuple[Trainee, Sequence[Tensor]]]
    export: Callable[[Trainee], nn.Module]
    figures: Callable[[Trainee, Context], Mapping[str, float]]
    needs: tuple[str, ...] = ()
    data: str = "fmnist"


def recipes() -> dict[str, Recipe]:
    """All recipes by name, each after those that it needs."""
    found: dict[str, Recipe] = {}
    for point in entry_points(group=GROUP):
        found |= {recipe.name: recipe for recipe in point.load()}
    ordered: dict[str, Recipe] = {}

    def add(name: str) -> None:
        for need in found[name].needs:
            if need not in found:
                raise unknown(f"recipe that {name} needs", need, found)
            add(need)
        ordered.setdefault(name, found[name])

    for name in sorted(found):
        add(name)
    return ordered


def recipe_named(name: str) -> Recipe:
    """The recipe; ArbenchError naming the valid ones if there is none."""
    valid = recipes()
    if name not in valid:
        raise unknown("recipe", name, valid)
    return valid[name]


def finished(recipe: Recipe, runs: Path) -> bool:
    """Whether the folder tells that ``train`` took this recipe to its end, with the plan and the needs of today, and
    its weights are still the ones written then."""
    if not all(path.exists() for path in _files(recipe).values()):
        return False
    return bool(files.read_json(_note(recipe, runs)) == _identity(recipe))


def _note(recipe: Recipe, runs: Path) -> Path:
    return runs / recipe.name / "finished.json"


def _files(recipe: Recipe) -> dict[str, Path]:
    """The weights that a recipe writes and those that it needs."""
    return {name: recipe_named(name).weights for name in recipe.needs} | {recipe.name: recipe.weights}


def _identity(recipe: Recipe) -> dict[str, Any]:
    plan = asdict(recipe.plan)
    hashes = {name: sha256(path) for name, path in _files(recipe).items()}
    return {"plan": {**plan, "betas": list(plan["betas"])}, "weights": hashes}


def train(recipe: Recipe, context: Context, crew: Crew | None = None) -> Mapping[str, Any]:
    """Run a recipe to its end (resuming what a killed run left in ``context.runs``) and write its weights; in several
    processes, the first of them.

    Returns the metadata written. Raises ArbenchError if weights that it needs are missing.
    """
    crew = crew or Alone()
    for need in recipe.needs:
        if not recipe_named(need).weights.exists():
            raise ArbenchError(f"{recipe.name} needs the weights of {need}: run 'arbench train {need}' first")
    commit = source_commit()  # now: the tree may have moved on when the training ends
    keep_heap()
    torch.manual_seed(recipe.plan.seed)
    trainee, columns = recipe.prepare(context)
    folder = context.runs / recipe.name
    trained = sum(p.numel() for p in trainee.parameters() if p.requires_grad)
    if crew.first:
        print(f"training {recipe.name}: {trained} parameters", flush=True)
    started = time.monotonic()
    log = fit(trainee, columns, recipe.plan, folder, crew)
    about = {
        "recipe": recipe.name,
        "plan": asdict(recipe.plan),
        "data": context.data_sha256,
        "commit": commit,
        "figures": dict(recipe.figures(trainee, context)),
        "last": log[-1] if log else {},
    }
    if not crew.first:
        return about
    write_weights(recipe.weights, recipe.export(trainee).state_dict(), about)
    files.write_json(_note(recipe, context.runs), _identity(recipe))
    (folder / "state.pt").unlink(missing_ok=True)
    seconds = time.monotonic() - started
    print(f"{recipe.name}: {about['figures']} after {seconds:.0f} s; wrote {recipe.weights}", flush=True)
    return about
