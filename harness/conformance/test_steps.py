"""Tests of the cost of a step: the number of MACs that run equals the number that the method's closed form gives."""

import pytest

from harness.conformance.subjects import names, sampling_of, subject
from harness.stages.flops.counter import count_image


@pytest.mark.parametrize("name", names())
def test_steps_that_ran_are_those_of_the_closed_form(name: str) -> None:
    method = subject(name)
    knobs, sampling = method.resolve({}), sampling_of(method)
    sampled, _ = count_image(method, knobs, sampling, 0, 0)
    assert sum(sampled.by_step) == sampled.macs
    assert len(sampled.by_step) == len(method.schedule(knobs))
    forms = method.step_forms(knobs, sampling)
    # Step 0 is left out: it also does the work that is done once per image.
    for ran, form in zip(sampled.by_step[1:], forms[1:], strict=False):
        assert ran == pytest.approx(sum(form.values()), rel=0.02)
