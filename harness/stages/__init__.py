"""The stages that a trial goes through. Each stage writes its own file, and none imports another.

generate  makes the images of a trial and keeps their features
quality   measures how close the images are to the reference
flops     counts the multiply-adds of an image
timing    measures latency, throughput and memory

figures   the table of all figures: names, units, which end is better, where a record stores them
"""

CONFIDENCE = 0.95
"""Confidence of every interval that a stage gives."""

VERSIONS = {"generate": 2, "quality": 3, "flops": 3, "timing": 3}
"""Version of each stage; part of every key. A version is raised when the stage gives another result for the same trial.
Trials that an older version measured are then measured anew, but only in this stage and in the stages that build on it.
"""
