"""How the pages of a report show the baselines. For each baseline, a ``Look`` gives the colour, the plot marker and
more (harness/plugins/looks.py).

The colours here and in methods/looks.py are the palette of Okabe and Ito, and one more colour: "wine" from Tol's
palette. The yellow of Okabe and Ito is left out, because it is too pale on white. Methods also have different plot
markers, so that nothing depends on colour alone.

The first argument of a ``Look`` is a number. Pages list methods in the order of these numbers: first raster, EAR and
the controls of EAR, then VAR, ActVAR and the controls of ActVAR.
"""

from harness.plugins.looks import Look

LOOKS = {
    "raster": Look(0, "#000000", "o", family="raster", base="raster", published="LlamaGen"),
    "raster-blocks": Look(2, "#e69f00", "s", family="order control", base="raster"),
    "random-order": Look(3, "#cc79a7", "p", family="order control", base="raster"),
    "var": Look(4, "#0072b2", "^", family="next-scale", base="var", published="VAR"),
    "var-static": Look(6, "#56b4e9", "v", family="sparsity control", base="var"),
}
