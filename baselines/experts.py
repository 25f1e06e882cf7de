"""An FFN of which each token computes only some parts, called experts (ActVAR; methods.actvar)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.gelu import gelu
from baselines.var import FFN


@torch.no_grad()
def experts(ffn: FFN, x: Tensor, chosen: Tensor, pairs: int) -> Tensor:
    """The FFN's output [B, n, dim] from the chosen experts alone. For sampling only: it has no gradient.

    The hidden units are cut into equal parts, one after the other; the e-th part is expert e. The chosen (token,
    expert) pairs are sorted by expert, computed by one grouped product for each of the two layers, and summed up token
    by token. The host waits for no value, and nothing is added atomically.

    x: [B, n, dim]; chosen: bool [B, n, experts]; pairs: the number of chosen pairs in the batch.
    """
    flat, mask = x.flatten(0, 1), chosen.flatten(0, 1)
    count = mask.shape[1]
    if not _has_grouped(x):
        hidden = gelu(ffn.fc1(flat)).unflatten(1, (count, -1)) * mask[..., None]
        return ffn.fc2(hidden.flatten(1)).view_as(x)
    up, bias = (own.unflatten(0, (count, -1)) for own in (ffn.fc1.weight, ffn.fc1.bias))
    down = ffn.fc2.weight.unflatten(1, (count, -1)).permute(1, 2, 0)
    expert, token = torch.nonzero_static(mask.t(), size=pairs).unbind(1)
    ends = mask.sum(0).cumsum(0).to(torch.int32)  # where the pairs of each expert end
    hidden = torch._grouped_mm(flat.index_select(0, token), up.transpose(1, 2), ends)
    hidden += bias.index_select(0, expert)
    rows = torch._grouped_mm(gelu(hidden), down, ends)
    counts = mask.sum(1)
    starts = counts.cumsum(0) - counts  # where the pairs of each token start, once they are sorted by token
    out = F.embedding_bag(token.argsort(stable=True), rows, starts, mode="sum")
    return (out + ffn.fc2.bias).view_as(x)


def _has_grouped(x: Tensor) -> bool:
    """Whether torch multiplies groups of rows on this device without asking the host how large the groups are.

    On CUDA it does for bf16 from the H100 on. Elsewhere on CUDA all experts are computed, and those that are not chosen
    are set to zero.
    """
    if x.device.type != "cuda":
        return True
    known = torch.cuda.is_available()  # tests have CUDA tensors without a GPU
    return x.dtype == torch.bfloat16 and (not known or torch.cuda.get_device_capability(x.device)[0] == 9)
