"""Facts that belong to a store and not to a trial: the scores of the reference images, and figures of the tokenizers.

The main figure of a tokenizer is its rFID: the FID of images that the tokenizer has encoded and decoded.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.checkpoints.tensors import read_about
from harness.stages.quality.reference import Reference
from harness.training.recipe import recipes


def reference_facts(references: Mapping[str, Sequence[Reference]]) -> dict[str, Any]:
    """The facts of a store, as plain values.

    Keys:

    - ``is``: Inception Score of the first data set's reference images
    - ``label_accuracy``: label accuracy of the same images
    - ``tokenizers``: for each tokenizer, by name, a dict of the figures that were measured in its training, such as
      ``rfid``. A tokenizer is left out if its weights are missing, or if the file of its weights states no ``rfid``
    """
    first = next(iter(references.values()))[0]
    return {"is": first.is_, "label_accuracy": first.label_accuracy, "tokenizers": _tokenizers()}


def _tokenizers() -> dict[str, Any]:
    """The figures of the tokenizers, by the tokenizer's name.

    A training recipe makes a file of weights, for a tokenizer or for another network. The metadata of this file hold
    the figures that were measured in training. A tokenizer's name is the name of its recipe. A recipe is left out if
    its file does not exist, or if the metadata hold no rFID.
    """
    written = {name: recipe.weights for name, recipe in recipes().items() if recipe.weights.exists()}
    figures = {name: read_about(path).get("figures", {}) for name, path in written.items()}
    return {name: found for name, found in figures.items() if "rfid" in found}
