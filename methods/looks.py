"""How the methods under test are shown on pages (harness/plugins/looks.py)."""

from harness.plugins.looks import Look

LOOKS = {
    "ear": Look(1, "#d55e00", "D", family="next-set", base="raster", published="EAR"),
    # saving: the share of VAR's FLOPs that ActVAR saves at depth 16, from its abstract
    "actvar": Look(5, "#009e73", "P", family="next-scale", base="var", published="ActVAR", saving=0.212),
    "actvar-random": Look(7, "#882255", "X", family="sparsity control", base="var"),
}
