"""Recipes: how each set of bundled weights is made. ``arbench train NAME`` runs one recipe; ``nox -s retrain`` runs all
recipes.

A package offers its recipes under the entry-point group ``arbench.recipes``. A recipe writes one file of weights. The
file also holds metadata: the plan (with its seed), the data's hash, the code's commit, results on the held-out images
(such as the loss), and the last line of the training log.
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
    """The inputs of a recipe."""

    data_name: str  # name of the data set
    runs: Path  # folder for runs and caches
    data: Path | None = None  # folder of the training images
    download: Path | None = None  # folder into which the training images may be downloaded
    # Weights of the teacher from which a student is distilled. If None, the bundled or published weights are used.
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
        """The device to compute on."""
        return torch.device("cpu")

    @cached_property
    def data_sha256(self) -> str:
        """Hash that identifies the training images."""
        return self.training.sha256


@dataclass(frozen=True)
class Recipe:
    """How one set of weights is made."""

    name: str
    weights: Path  # the file that is written
    plan: Plan
    # Gives the module to be trained, and the tensors of training data, such as images and labels.
    prepare: Callable[[Context], tuple[Trainee, Sequence[Tensor]]]
    export: Callable[[Trainee], nn.Module]  # gives the module whose state is saved
    figures: Callable[[Trainee, Context], Mapping[str, float]]  # results on the held-out images
    needs: tuple[str, ...] = ()  # names of the recipes that must be run before this one
    data: str = "fmnist"  # name of the data set


def recipes() -> dict[str, Recipe]:
    """All recipes, as a dict by name. In the dict, a recipe comes after all recipes that it needs."""
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
    """The recipe of this name. If there is none, raises ArbenchError with a list of the valid names."""
    valid = recipes()
    if name not in valid:
        raise unknown("recipe", name, valid)
    return valid[name]


def finished(recipe: Recipe, runs: Path) -> bool:
    """Whether ``train`` has finished this recipe and nothing has changed since. When a recipe is finished, ``train``
    writes a note into the folder ``runs``. This function compares the note with the present state.

    Three things must still be the same: the recipe's plan, the weights that the recipe needs, and the weights that the
    recipe wrote.
    """
    if not all(path.exists() for path in _files(recipe).values()):
        return False
    return bool(files.read_json(_note(recipe, runs)) == _identity(recipe))


def _note(recipe: Recipe, runs: Path) -> Path:
    return runs / recipe.name / "finished.json"


def _files(recipe: Recipe) -> dict[str, Path]:
    """A dict of weight files: the files that ``recipe`` needs, and the file that it writes. Each key is the name of the
    recipe that writes the file. Each value is the path of the file."""
    return {name: recipe_named(name).weights for name in recipe.needs} | {recipe.name: recipe.weights}


def _identity(recipe: Recipe) -> dict[str, Any]:
    plan = asdict(recipe.plan)
    hashes = {name: sha256(path) for name, path in _files(recipe).items()}
    return {"plan": {**plan, "betas": list(plan["betas"])}, "weights": hashes}


def train(recipe: Recipe, context: Context, crew: Crew | None = None) -> Mapping[str, Any]:
    """Run a recipe to its end and write its weights. A killed run that left its state in ``context.runs`` is resumed.

    If there are several processes, only the first one writes. Returns the metadata of the weights. Raises ArbenchError
    if weights that the recipe needs are missing.
    """
    crew = crew or Alone()
    for need in recipe.needs:
        if not recipe_named(need).weights.exists():
            raise ArbenchError(f"{recipe.name} needs the weights of {need}: run 'arbench train {need}' first")
    commit = source_commit()  # read now: the checkout may have changed when the training ends
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
