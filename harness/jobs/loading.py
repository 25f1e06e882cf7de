"""Loads the method of a planned trial.

The key of the trial depends on the hashes of the weights. Loading checks that the weights still have these hashes.
"""

from pathlib import Path

import torch

from harness.errors import ArbenchError
from harness.jobs.plan import TrialPlan
from harness.method import Method
from harness.setup import in_precision


def load(plan: TrialPlan, device: str = "cpu") -> Method:
    """The method of a trial, on a device, in the trial's precision, in evaluation mode. Its ``tf32`` is the
    trial's.

    Raises ArbenchError in three cases: a file of weights cannot be read; the method loads a file that the method's
    ``weight_files`` does not list; or a file of weights has changed since the plan was made.
    """
    method = _random(plan) if plan.trial.setup.weights == "random" else _trained(plan)
    in_precision(method, plan.trial.setup.precision)
    method.tf32 = plan.trial.setup.tf32
    return method.eval().to(device)


def packed(plan: TrialPlan, device: str = "cpu") -> Method:
    """The method that ``load`` gives, with its weights laid out for fast evaluation (``Method.pack``)."""
    method = load(plan, device)
    method.pack()
    return method


def _trained(plan: TrialPlan) -> Method:
    owner, own = plan.trial.owner, plan.checkpoint
    method = owner.load(plan.trial.preset, own) if own else owner.load(plan.trial.preset)
    for name, sha256 in method.provenance.weights.items():
        if Path(name).name not in plan.weights:
            if own is not None:
                raise ArbenchError(f"method {owner.name!r} does not load the checkpoint {own}")
            raise ArbenchError(f"method {owner.name!r} loads {name}, which its weight_files() does not name")
        if plan.weights[Path(name).name] != sha256:
            raise ArbenchError(f"weights {name} of {owner.name!r} have changed since the run began")
    return method


def _random(plan: TrialPlan) -> Method:
    """The method with random weights. The weights are the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return plan.trial.owner.build(plan.trial.preset)
