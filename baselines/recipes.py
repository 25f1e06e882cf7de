"""All recipes of this package, for the entry-point group ``arbench.recipes``."""

from baselines.generators import RECIPES as GENERATORS
from baselines.perceptual import RECIPE as PERCEPTUAL
from baselines.tokenizers.recipes import RECIPES as TOKENIZERS
from baselines.var_static import VARStatic

RECIPES = (PERCEPTUAL, *TOKENIZERS, *GENERATORS, VARStatic.recipe())
