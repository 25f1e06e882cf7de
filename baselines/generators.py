"""Recipes of the generators that are trained on tokens. All these recipes have the same plan."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from baselines.orders import RandomOrder, RasterBlocks
from baselines.raster import Raster
from baselines.single_scale import Bundled
from baselines.tokenizers.recipes import load_tokenizer
from baselines.training import EQUAL_PLAN, training_tokens
from baselines.var import VAR
from harness.training.loop import Trainee
from harness.training.recipe import Context, Recipe


def generator_recipe(method: type[Bundled], preset: str = "fmnist") -> Recipe:
    """The recipe of a method whose network is trained on the tokens of the method's tokenizer."""
    tokenizer = method.presets[preset].tokenizer
    return Recipe(
        name=f"{method.name}-{preset}",
        weights=method.bundled_weights(preset),
        plan=EQUAL_PLAN,
        prepare=partial(_prepare, method, preset),
        export=lambda trainee: trainee.network,  # type: ignore[arg-type, return-value]
        figures=partial(held_out_loss, method, preset),
        needs=(tokenizer,),
    )


def _prepare(method: type[Bundled], preset: str, context: Context) -> tuple[Trainee, Sequence[Tensor]]:
    found = method.preset_named(preset)
    network = method.new_network(found)
    columns = training_tokens(found.tokenizer, context)
    return method.trainee(network, load_tokenizer(found.tokenizer)), columns


@torch.inference_mode()
def held_out_loss(method: type[Bundled], preset: str, trainee: Trainee, context: Context) -> Mapping[str, float]:
    """Mean loss on the held-out images."""
    tokenizer = load_tokenizer(method.presets[preset].tokenizer)
    generator = torch.Generator().manual_seed(0)
    held_out = context.reference
    losses = [
        trainee.loss((tokenizer.encode(images.float() / 255), labels), generator)["loss"].item()
        for images, labels in zip(held_out.images.split(250), held_out.labels.split(250), strict=True)
    ]
    return {"held_out_loss": sum(losses) / len(losses)}


RECIPES = tuple(generator_recipe(method) for method in (VAR, Raster, RasterBlocks, RandomOrder))
