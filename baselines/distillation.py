"""How the sparse versions of VAR are distilled from the dense one, in stages (ActVAR, arXiv 2511.12893, trains in two).

Stages, a third of the steps each, all ours beyond "two-stage distillation, routing and gating supervised":
 1. routing: FFN sparsity drawn in [0.2, 0.8], no token sparsity (a control, with no routing to learn, starts with 2);
 2. gating and reconstruction: token sparsity drawn in [0.2, 0.8], FFN dense;
 3. joint polish: both drawn.

Losses: KL of the student's to the teacher's distribution at every token; the light path's squared distance to the
update that it stands for; and what a learned selection adds (``auxiliary``). Gradients reach scores through
straight-through masks. The backbone stays frozen, which keeps the student equal to its teacher at zero sparsity.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.sparse_var import SparseVARNetwork, Sparsity, straight_through, top_mask
from baselines.training import drop_class
from baselines.var import modulated
from harness.training import Plan, Trainee

DISTILLATION_PLAN = Plan(epochs=1, batch=125, lr=4e-3, warmup=20, ema=0.98, weight_decay=0.0)
DISTILLATION_IMAGES = 40_000
STAGES = 3


class DistillationTrainee(Trainee):
    """A sparse student with its dense teacher, which is its own backbone."""

    done: Tensor

    def __init__(self, student: SparseVARNetwork, tokenizer: nn.Module, steps: int) -> None:
        super().__init__()
        self.student, self.tokenizer, self.steps = student, tokenizer.requires_grad_(False), steps
        self.register_buffer("done", torch.zeros((), dtype=torch.long))

    def after_step(self, generator: torch.Generator) -> None:
        self.done += 1

    def draw_sparsity(self, generator: torch.Generator) -> Sparsity:
        """The setting of one step, after its stage."""
        learned = any(own.requires_grad for one in self.student.selections for own in one.parameters())
        stage = max(min(int(self.done) * STAGES // self.steps, STAGES - 1), 0 if learned else 1)
        ffn, token = (0.2 + 0.6 * torch.rand(2, generator=generator)).tolist()
        scales = int(torch.randint(1, 4, (), generator=generator))
        return Sparsity(ffn if stage != 1 else 0.0, token if stage != 0 else 0.0, scales)

    def loss(self, batch: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """batch: tokens [B, positions], labels [B]."""
        tokens, labels = batch
        net = self.student.backbone[0]
        labels = drop_class(labels, net.classes, generator)
        with torch.no_grad():
            seen = self.tokenizer.quantiser.inputs(tokens)  # type: ignore[union-attr, operator]
            teacher = net.logits(seen, labels).float().log_softmax(-1)
        logits, light, auxiliary = masked_logits(self.student, seen, labels, self.draw_sparsity(generator))
        kl = F.kl_div(logits.float().log_softmax(-1), teacher, reduction="sum", log_target=True) / tokens.numel()
        return {"loss": kl + light + 0.1 * auxiliary, "kl": kl.detach(), "light": light, "auxiliary": auxiliary}


def masked_logits(
    student: SparseVARNetwork, seen: Tensor, labels: Tensor, sparsity: Sparsity
) -> tuple[Tensor, Tensor, Tensor]:
    """All scales in one pass, everything computed and what would be skipped masked out: logits [B, L, V], the light
    path's loss and the selection's. Equal to sampling's gather-compute-scatter on the same inputs."""
    net = student.backbone[0]
    condition = net.class_emb(labels)
    x = net.embed(seen, condition, slice(0, net.lvl_1L.shape[1]))
    bias, modulations = net.causal(), net.modulations(condition)
    spans = [net.span(scale) for scale in range(len(net.scales) - sparsity.scales, len(net.scales))]
    light_loss, auxiliary = x.new_zeros(()), x.new_zeros(())
    for place, (block, modulation) in enumerate(zip(net.blocks, modulations, strict=True)):
        gamma1, gamma2, scale1, scale2, shift1, shift2 = modulation
        h = modulated(x, scale1, shift1)
        q, k, v = block.attn.all_three(h)
        attended = x + gamma1 * block.attn.read(q, k, v, bias)
        h2 = modulated(attended, scale2, shift2)
        hidden = F.gelu(block.ffn.fc1(h2), approximate="tanh")
        token_mask, unit_mask = torch.ones_like(x[..., :1]), torch.ones_like(hidden)
        selection = student.selections[place]
        for span in spans:
            places = torch.arange(span.start, span.stop, device=x.device)
            selected = torch.ones(x.shape[0], len(places), dtype=torch.bool, device=x.device)
            kept = sparsity.kept_tokens(len(places))
            if kept < len(places):
                scores = selection.tokens(h[:, span], places).expand(len(x), -1)
                selected = top_mask(scores, kept)
                mask = straight_through(selected, scores)[..., None]
                token_mask = torch.cat([token_mask[:, : span.start], mask, token_mask[:, span.stop :]], 1)
            if sparsity.ffn:
                mask = selection.unit_mask(h2[:, span], places, selected, span, sparsity)
                unit_mask = torch.cat([unit_mask[:, : span.start], mask, unit_mask[:, span.stop :]], 1)
        full = attended + gamma2 * block.ffn.fc2(hidden * unit_mask)
        if sparsity.token:
            tail = slice(spans[0].start, None)
            light = student.light[place](h[:, tail])
            change = (full - x)[:, tail]
            power = change.detach().square().mean()
            light_loss = light_loss + F.mse_loss(light, change.detach()) / power
            gain = (change - light).detach().norm(dim=-1)
            auxiliary = auxiliary + token_auxiliary(selection, h[:, tail], spans[0].start, gain)
            short = torch.cat([x[:, : tail.start], x[:, tail] + light], 1)
            full = token_mask * full + (1 - token_mask) * short
        if sparsity.ffn:
            weight = (gamma2.square() @ block.ffn.fc2.weight.square()).detach()
            worth = (hidden.detach().square() * weight)[:, spans[0].start :]
            auxiliary = auxiliary + unit_auxiliary(selection, h2[:, spans[0].start :], worth)
        x = full
    return net.read_out(x, condition), light_loss, auxiliary


def token_auxiliary(selection: Any, h: Tensor, start: int, gain: Tensor) -> Tensor:
    """A learned gate is taught each token's gain: how far the light path's update is from the full one."""
    if not hasattr(selection, "gate_loss"):
        return gain.new_zeros(())
    loss: Tensor = selection.gate_loss(h, gain / gain.mean())
    return loss


def unit_auxiliary(selection: Any, h: Tensor, worth: Tensor) -> Tensor:
    """A learned router is taught each expert's worth: the size of what it adds to the block's output."""
    if not hasattr(selection, "router_loss"):
        return worth.new_zeros(())
    loss: Tensor = selection.router_loss(h, worth)
    return loss
