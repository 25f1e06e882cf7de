"""Facts that belong to a store and not to a trial: the scores of the reference images, the losses of the tokenizers."""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.checkpoints.tensors import read_about
from harness.stages.quality.reference import Reference
from harness.training.recipe import recipes


def reference_facts(references: Mapping[str, Sequence[Reference]]) -> dict[str, Any]:
    """The facts of a store, as plain values.

    is, label_accuracy: figures of the first data set's reference images
    tokenizers: a dict from tokenizer to the figures that were measured in its training, ``rfid`` among them. Tokenizers
        whose weights are missing, or whose weights state no ``rfid``, are left out
    """
    first = next(iter(references.values()))[0]
    return {"is": first.is_, "label_accuracy": first.label_accuracy, "tokenizers": _tokenizers()}


def _tokenizers() -> dict[str, Any]:
    """The figures in the metadata of each recipe's weights. Recipes without an rFID in the metadata are left out."""
    written = {name: recipe.weights for name, recipe in recipes().items() if recipe.weights.exists()}
    figures = {name: read_about(path).get("figures", {}) for name, path in written.items()}
    return {name: found for name, found in figures.items() if "rfid" in found}
