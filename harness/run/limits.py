"""Facts that belong to a store and not to a trial: the scores of the reference images, and metrics of the tokenizers.

The main metric of a tokenizer is its rFID: the FID of images that the tokenizer has encoded and decoded.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.checkpoints.tensors import read_about
from harness.stages.quality.reference import Reference
from harness.training.recipe import recipes


def reference_facts(references: Mapping[str, Sequence[Reference]]) -> dict[str, Any]:
    """The facts of a store, as plain values.

    references: for each data set, by name, its reference for each extractor.

    Keys of the result:

    - ``is``: Inception Score of the first data set's reference images, by the first extractor
    - ``label_accuracy``: label accuracy of the same images, by the same extractor
    - ``tokenizers``: for each tokenizer, by name, a dict of metrics, such as ``rfid``. They were measured when the
      tokenizer was trained. A tokenizer is left out if its weights are missing, or if the file of the weights states
      no ``rfid``
    """
    first = next(iter(references.values()))[0]
    return {"is": first.is_, "label_accuracy": first.label_accuracy, "tokenizers": _tokenizers()}


def _tokenizers() -> dict[str, Any]:
    """The metrics of each tokenizer, by the tokenizer's name.

    A tokenizer is trained by a recipe, and has the recipe's name. The recipe writes the weights to a file. The metadata
    of this file hold the metrics that were measured in training. A tokenizer is left out if its file does not exist, or
    if the metadata hold no rFID. Recipes for other networks are left out, too.
    """
    written = {name: recipe.weights for name, recipe in recipes().items() if recipe.weights.exists()}
    figures = {name: read_about(path).get("figures", {}) for name, path in written.items()}
    return {name: found for name, found in figures.items() if "rfid" in found}
