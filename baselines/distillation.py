"""How the sparse versions of VAR are distilled from dense VAR, in three stages (ActVAR, arXiv 2511.12893, has two).

The sparse versions are ActVAR and its controls. In distillation, a sparse version is the student, and the dense network
is the teacher. At the last scales, here called the sparse scales, the student computes only selected FFN units and
selected tokens. ActVAR learns the selection. Its controls select at random, or always select the same units and tokens.

A block adds an update to each token. For a token that is not selected, a light path replaces attention and FFN. The
light path is a map of low rank, trained to give the update that the whole block would give.

ActVAR's abstract says only "two-stage distillation, routing and gating supervised". We chose these three stages:
 1. Routing. FFN sparsity is drawn in [0.2, 0.8], token sparsity is zero. ActVAR's controls learn no routing, so they
    start with stage 2.
 2. Gating and reconstruction. Token sparsity is drawn in [0.2, 0.8], the FFN is dense.
 3. Joint polish. FFN sparsity, token sparsity or both are drawn. Some students have blocks of their own for the sparse
    scales: copies of the dense network's blocks. In this stage, these copies are trained as well.

The loss has three parts:
 - The KL divergence between the *guided* distributions of student and teacher, at every token of the sparse scales. The
   strength of the guidance is drawn in [1, 6]. The distributions are guided because sampling is guided, and because
   guidance multiplies the errors of its two branches.
 - The squared distance between two updates of a token: the light path's update, and the full update of the block.
 - ``auxiliary``: the losses of the router and the gate, if the selection is learned.

Gradients reach the scores of a selection through straight-through masks. The backbone of the student is the dense
network itself, and stays frozen. At zero sparsity only the backbone is run, so that the student equals the teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.gelu import gelu
from baselines.llama import Cache, Slots
from baselines.sparse_var import Selection, SparseVARNetwork, Sparsity, straight_through, top_mask
from baselines.var import VARNetwork, modulated
from harness.sampling import Sampling, guide
from harness.training.loop import Plan, Trainee

DISTILLATION_PLAN = Plan(epochs=2, batch=64, lr=2e-3, warmup=20, ema=0.995, weight_decay=0.0)
"""``batch`` counts images; each image is seen with and without its class."""
DISTILLATION_IMAGES = 58_000
"""The number of training images, without the images used for calibration."""
STAGE_ENDS = (0.1, 0.2)
"""Where the first two stages end, as shares of all steps."""
AUXILIARY_WEIGHT = 0.1


class DistillationTrainee(Trainee):
    """A sparse student that is trained to imitate a dense teacher.

    The student holds the dense network as its frozen backbone. The same module, run without sparsity, is the teacher.
    """

    done: Tensor

    def __init__(self, student: SparseVARNetwork, tokenizer: nn.Module, steps: int) -> None:
        super().__init__()
        self.student, self.tokenizer, self.steps = student, tokenizer.requires_grad_(False), steps
        self.register_buffer("done", torch.zeros((), dtype=torch.long))

    def after_step(self, generator: torch.Generator) -> None:
        self.done += 1

    def stage(self) -> int:
        """The index of the current stage, from 0."""
        return sum(int(self.done) >= end * self.steps for end in STAGE_ENDS)

    def draw_sparsity(self, generator: torch.Generator, branches: int = 2) -> Sparsity:
        """Draw the sparsity of one training step, by the rules of the current stage."""
        learned = any(own.requires_grad for one in self.student.selections for own in one.parameters())
        stage = max(self.stage(), 0 if learned else 1)
        kind = stage if stage < 2 else int(torch.randint(0, 3, (), generator=generator))
        ffn, token = (0.2 + 0.6 * torch.rand(2, generator=generator)).tolist()
        scales = (1, 2, 2, 3)[int(torch.randint(0, 4, (), generator=generator))]
        return Sparsity(ffn if kind != 1 else 0.0, token if kind != 0 else 0.0, scales, branches)

    def loss(self, batch: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The loss of one batch, and its parts. batch: tokens [B, positions], labels [B]."""
        tokens, labels = batch
        net = self.student.backbone[0]
        for own in self.student.own.parameters():
            own.requires_grad_(self.stage() == 2)
        with torch.no_grad():
            seen = self.tokenizer.quantiser.inputs(tokens).repeat(2, 1, 1)  # type: ignore[union-attr, operator]
            teacher = dense_pass(net, seen, torch.cat([labels, torch.full_like(labels, net.classes)]))
        sparsity = self.draw_sparsity(generator)
        logits, light, auxiliary = masked_logits(self.student, teacher, sparsity)
        cfg = 1.0 + 5.0 * float(torch.rand((), generator=generator))
        kl = guided_kl(net, logits, teacher.logits, sparsity, Sampling(cfg=cfg, cfg_schedule="ramp"))
        loss = kl + AUXILIARY_WEIGHT * (light + auxiliary)
        return {"loss": loss, "kl": kl.detach(), "light": light.detach(), "auxiliary": auxiliary.detach()}


def guided_kl(net: VARNetwork, student: Tensor, teacher: Tensor, sparsity: Sparsity, sampling: Sampling) -> Tensor:
    """KL(teacher || student) of the guided distributions, in nats: the mean over the tokens of the sparse scales.

    student, teacher: logits [2 B, L, V], first all rows with the class, then all rows without the class.
    """
    total, count = student.new_zeros((), dtype=torch.float32), len(net.scales)
    for scale in range(count - sparsity.scales, count):
        span = net.span(scale)
        one, other = (guide(x[:, span], sampling, scale, count).log_softmax(-1) for x in (student, teacher))
        total = total + F.kl_div(one, other, reduction="sum", log_target=True)
    tokens = sum(side * side for side in net.scales[-sparsity.scales :])
    return total / (tokens * len(student) / 2)


@dataclass(frozen=True)
class DensePass:
    """What the dense network computes for whole sequences."""

    x: Tensor  # embedded input [B, L, dim]
    condition: Tensor  # class embeddings [B, dim]
    modulations: list[list[Tensor]]  # adaLN modulations of every block
    past: Cache  # keys and values of every block
    logits: Tensor  # [B, L, V]


@torch.no_grad()
def dense_pass(net: VARNetwork, seen: Tensor, labels: Tensor) -> DensePass:
    """Run the dense network teacher-forced, all scales at once.

    seen: [B, L - 1, channels], made by ``MultiScaleQuantiser.inputs``; labels: [B].
    """
    condition = net.class_emb(labels)
    length = net.lvl_1L.shape[1]
    x = net.embed(seen, condition, slice(0, length))
    modulations, past = net.modulations(condition), net.new_cache(condition)
    out = net.run(x, modulations, (past, Slots(length)), net.causal())
    return DensePass(x, condition, modulations, past, net.read_out(out, condition))


def masked_logits(student: SparseVARNetwork, dense: DensePass, sparsity: Sparsity) -> tuple[Tensor, Tensor, Tensor]:
    """The logits of the sparse student, for training: all sparse scales are computed in one pass.

    All tokens and all FFN units are computed. Masks then remove the tokens and units that sampling would skip. Sampling
    itself gathers the selected tokens, computes only them, and scatters the results. On the same inputs, both ways give
    the same logits. The earlier scales keep the logits of the dense network.

    Returns logits [B, L, V], the loss of the light path and the loss of the selection.
    """
    net = student.backbone[0]
    if sparsity.ffn == 0 and sparsity.token == 0:
        return dense.logits, dense.logits.new_zeros(()), dense.logits.new_zeros(())
    spans = [net.span(scale) for scale in range(len(net.scales) - sparsity.scales, len(net.scales))]
    start = spans[0].start
    x, bias = dense.x[:, start:], net.causal()[start:]
    light_loss, auxiliary = x.new_zeros(()), x.new_zeros(())
    for place, (block, modulation) in enumerate(zip(student.blocks, dense.modulations, strict=True)):
        gamma1, gamma2, scale1, scale2, shift1, shift2 = modulation
        h = modulated(x, scale1, shift1)
        q, *both = block.attn.all_three(h)
        before = (seen[place][:, :, :start] for seen in (dense.past.keys, dense.past.values))
        k, v = (torch.cat([old, new], 2) for old, new in zip(before, both, strict=True))
        attended = torch.addcmul(x, gamma1, block.attn.read(q, k, v, bias))
        h2 = modulated(attended, scale2, shift2)
        hidden = gelu(block.ffn.fc1(h2))
        token_mask, unit_mask = _masks(student.selections[place], h, h2, spans, sparsity)
        full = torch.addcmul(attended, gamma2, block.ffn.fc2(hidden if unit_mask is None else hidden * unit_mask))
        if unit_mask is not None:
            weight = (gamma2.square() @ block.ffn.fc2.weight.square()).detach()
            auxiliary = auxiliary + unit_auxiliary(student.selections[place], h2, hidden.detach().square() * weight)
        if token_mask is not None:
            alone, change = student.light[place](h.detach()), (full - x).detach()
            light_loss = light_loss + F.mse_loss(alone, change) / change.square().mean()
            gain, places = (change - alone).detach().norm(dim=-1), torch.arange(start, spans[-1].stop, device=x.device)
            auxiliary = auxiliary + token_auxiliary(student.selections[place], h, places, gain)
            full = token_mask * full + (1 - token_mask) * (x + student.light[place](h))
        x = full
    return torch.cat([dense.logits[:, :start], net.read_out(x, dense.condition)], 1), light_loss, auxiliary


def _masks(
    selection: Selection, h: Tensor, h2: Tensor, spans: Sequence[slice], sparsity: Sparsity
) -> tuple[Tensor | None, Tensor | None]:
    """A mask of tokens [B, n, 1] and a mask of hidden units [B, n, hidden], for the n tokens of the sparse scales.

    A mask is 1 for each token or unit that is selected, else 0. The mask of tokens is None if token sparsity is zero.
    The mask of units is None if FFN sparsity is zero.

    h, h2: the modulated inputs of attention and of the FFN, for the same n tokens.
    """
    start, tokens, units = spans[0].start, [], []
    for span, own in zip(spans, sparsity.over([span.stop - span.start for span in spans]), strict=True):
        here = slice(span.start - start, span.stop - start)
        places = torch.arange(span.start, span.stop, device=h.device)
        scores = sparsity.agree(selection.tokens(h[:, here], places).expand(len(h), -1))
        kept = sparsity.kept_tokens(len(places))
        selected = top_mask(scores, kept)
        tokens.append(straight_through(selected, scores) if kept < len(places) else torch.ones_like(scores))
        if sparsity.ffn:
            units.append(selection.unit_mask(h2[:, here], places, selected, span, own))
    return torch.cat(tokens, 1)[..., None] if sparsity.token else None, torch.cat(units, 1) if units else None


def token_auxiliary(selection: Any, h: Tensor, places: Tensor, gain: Tensor) -> Tensor:
    """The loss of a gate that learns to predict each token's gain; 0 if the selection has no gate.

    gain: for each token, the distance between the light path's update and the full update.
    """
    if not hasattr(selection, "gate_loss"):
        return gain.new_zeros(())
    loss: Tensor = selection.gate_loss(h, places, gain / gain.mean())
    return loss


def unit_auxiliary(selection: Any, h: Tensor, worth: Tensor) -> Tensor:
    """The loss of a router that learns to predict the worth of each expert; 0 if the selection has no router.

    An expert is a group of FFN units. An expert adds something to the block's output. The size of this addition is the
    expert's worth.

    worth: [B, n, hidden], the squared size of what each FFN unit adds to the block's output.
    """
    if not hasattr(selection, "router_loss"):
        return worth.new_zeros(())
    loss: Tensor = selection.router_loss(h, worth)
    return loss
