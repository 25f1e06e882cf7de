"""All recipes of this package, for the entry-point group ``arbench.recipes``."""

from baselines.generators import generator_recipe
from methods.actvar import ActVAR
from methods.actvar_random import ActVARRandom
from methods.ear import EAR

RECIPES = (generator_recipe(EAR), ActVAR.recipe(), ActVARRandom.recipe())
