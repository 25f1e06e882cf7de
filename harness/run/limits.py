"""Facts that belong to a store and not to a trial: what the reference images score, what the tokenizers lose."""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.checkpoints.tensors import read_about
from harness.stages.quality.reference import Reference
from harness.training.recipe import recipes


def reference_facts(references: Mapping[str, Sequence[Reference]]) -> dict[str, Any]:
    """The facts of a store, as plain values.

    is, label_accuracy: of the first data set's reference images
    tokenizers: name -> ``rfid`` and other figures that its training measured, for tokenizers whose weights are there
    """
    first = next(iter(references.values()))[0]
    return {"is": first.is_, "label_accuracy": first.label_accuracy, "tokenizers": _tokenizers()}


def _tokenizers() -> dict[str, Any]:
    """Figures of every recipe that has an rFID, from its weights' metadata."""
    written = {name: recipe.weights for name, recipe in recipes().items() if recipe.weights.exists()}
    figures = {name: read_about(path).get("figures", {}) for name, path in written.items()}
    return {name: found for name, found in figures.items() if "rfid" in found}
