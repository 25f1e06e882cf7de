"""Adaptive decode lengths of next-set prediction: the content of an image decides how many steps the image takes.

Each step predicts the rest of the ring that the order is in, and accepts the longest prefix whose predicted entropy is
at most a threshold (``methods.ear`` says why). The rows of a batch take different numbers of steps. After each step the
host therefore asks the device which rows are finished, so that this loop cannot be captured in a CUDA graph.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.llama import Cache, Slots
from baselines.next_set_network import NextSetNetwork
from harness import traces
from harness.errors import ArbenchError
from harness.method import Generated
from harness.sampling import Sampling, draw, guide


@dataclass
class _Rows:
    """The rows of a batch that are still being decoded, and how many slots of each row are done.

    A row has slots: slot 0 for the class, slot 1 + p for the p-th place in order, the last slot for padding.
    """

    index: Tensor  # [A], the index of each of the A rows in the whole batch
    known: Tensor  # [A, slots], tokens
    # fed and filled are [A]; they are on the CPU, since the loop depends on them
    fed: Tensor  # how many slots hold final keys and values
    filled: Tensor  # how many slots have their final token; the class counts


def sample(net: NextSetNetwork, branches: Tensor, noise: Tensor, threshold: float, sampling: Sampling) -> Generated:
    """Decode a batch of images.

    branches: labels of all guidance branches, int64 [B] or [2 B]
    noise: float64 [B, T]
    threshold: in nats; the entropy of what is accepted in one step is at most this large

    Raises ArbenchError if the guidance scale depends on the number of steps, which is not known beforehand.
    """
    if sampling.cfg_schedule != "constant":
        raise ArbenchError("adaptive decoding needs cfg_schedule = constant: how many steps it takes is not known")
    count, total = noise.shape
    condition = net.cls_embedding(branches)
    cache, modulations = net.new_cache(len(condition), total + 2), net.modulations(condition)
    rows = _Rows(
        torch.arange(count, device=noise.device),
        branches.new_zeros(count, total + 2),
        torch.zeros(count, dtype=torch.int64),
        torch.ones(count, dtype=torch.int64),
    )
    tokens, steps = torch.zeros_like(rows.known[:, 1:-1]), branches.new_zeros(count)
    decided = torch.zeros_like(tokens) if traces.heard() else None
    while len(rows.index):
        logits, slots = _step(net, rows, cache, modulations, condition)
        logits = guide(logits, sampling, 0, 1)
        place = (slots - 1).clamp(max=total - 1)
        drawn = draw(logits, noise[rows.index].gather(1, net.order[place].expand(len(rows.index), -1)), sampling)
        rows.known.scatter_(1, slots.expand_as(drawn), drawn)
        ends = torch.minimum(_ring_ends(rows.filled), rows.filled + _prefix(logits, threshold).cpu())
        if decided is not None:  # counts, for each place, the steps that leave it undecided
            decided[rows.index] += (torch.arange(1, total + 1) >= ends[:, None]).to(decided)
        rows.fed, rows.filled = rows.filled, ends
        steps[rows.index] += 1
        tokens[rows.index] = rows.known[:, 1:-1]
        going = rows.filled <= total
        if not going.all():
            rows = _Rows(rows.index[going], rows.known[going], rows.fed[going], rows.filled[going])
            kept = going.repeat(len(branches) // count)
            cache.keep(kept)
            condition = condition[kept]
            modulations = [layer and [m[kept] for m in layer] for layer in modulations]
    if decided is not None:
        traces.tell_order(decided[:, net.order.argsort()])
    return Generated(tokens[:, net.order.argsort()], steps)


def _step(
    net: NextSetNetwork, rows: _Rows, cache: Cache, modulations: list[list[Tensor] | None], condition: Tensor
) -> tuple[Tensor, Tensor]:
    """Evaluate the network once. Each row has mask tokens in the slots from ``rows.filled`` to the end of the ring.

    Returns the logits of the m mask tokens, [rows of all branches, m, V], and their slots, [A or 1, m]. A is the
    number of rows in ``rows``.
    """
    ends, padding, branches = _ring_ends(rows.filled), rows.known.shape[1] - 1, len(condition) // len(rows.index)
    device = condition.device
    before = rows.fed[:, None] + torch.arange(int((rows.filled - rows.fed).max()))
    before = before.masked_fill(before >= rows.filled[:, None], padding)
    masks = rows.filled[:, None] + torch.arange(int((ends - rows.filled).max()))
    masks = masks.masked_fill(masks >= ends[:, None], padding)
    reach = min(int(masks.max()) + 1, padding)
    if int(rows.fed.max()) == 0:
        real = condition[:, None]
    else:
        known = rows.known.gather(1, before.to(device).expand(len(rows.known), -1))
        real = net.tok_embeddings(known).repeat(branches, 1, 1)
    x = torch.cat([real, net.mask_token.expand(len(condition), masks.shape[1], -1)], 1)
    index = torch.cat([before, masks], 1)
    limit = torch.cat([rows.filled[:, None].expand_as(before), ends[:, None].expand_as(masks)], 1)
    hidden = torch.arange(reach) >= limit[..., None]
    bias = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)[:, None]
    index, bias, masks = index.to(device), bias.to(x), masks.to(device)
    slots = Slots(reach, None, bias)  # in a single row nothing is padded: tokens write the last slots
    if len(index) > 1:
        index, bias = index.repeat(branches, 1), bias.repeat(branches, 1, 1, 1)
        slots = Slots(reach, index, bias)
    out = net.run(x, net.rope[index], modulations, store=(cache, slots))
    heads = out[:, before.shape[1] :].contiguous()  # for a slice, torch would copy the head's weights for every row
    return net.output(heads), masks


def _ring_ends(filled: Tensor) -> Tensor:
    """For each row, the first slot after the current ring.

    Ring k consists of the places k^2 to (k + 1)^2 - 1 in order. The current ring is the ring that contains the first
    place without a final token.

    filled: how many slots of each row have their final token, the class included.
    """
    return ((filled - 1).double().sqrt().floor().long() + 1) ** 2 + 1


def _prefix(logits: Tensor, threshold: float) -> Tensor:
    """The length of the longest prefix of tokens whose entropies sum up to at most ``threshold`` nats; at least 1.

    The tokens of the prefix are drawn independently. Some information is lost by this, but at most the sum of the
    tokens' entropies. logits: [A, n, V].
    """
    log_p = logits.log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum(-1)
    return (entropy.cumsum(1) <= threshold).sum(1).clamp(min=1)
