"""The stages that a trial goes through. Each stage writes its own file, and no stage imports another.

generate  makes the images of a trial and keeps their features
quality   measures how close the images are to the reference
flops     counts the multiply-adds of an image, and the bytes that each step reads
timing    measures latency, throughput and memory

clocks    how a method ran while it was timed: captured, compiled or eager
floors    the least time that bytes and FLOPs need on a device, and the share of it that is reached
figures   describes each number that is measured for a trial (a figure): its name, its unit, whether a high or a low
          value is better, and its path in a record
"""

from collections.abc import Mapping
from typing import Literal, get_args

Stage = Literal["generate", "quality", "flops", "timing"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""The names of the stages, in the order in which a trial goes through them."""

CONFIDENCE = 0.95
"""Confidence of every interval that a stage gives."""

VERSIONS: Mapping[Stage, int] = {"generate": 2, "quality": 3, "flops": 3, "timing": 4}
"""Version of each stage; part of every key. A version is raised when the stage gives another result for the same trial.
Trials that an older version measured are then measured anew, but only in this stage and in the stages that build on it.
"""
