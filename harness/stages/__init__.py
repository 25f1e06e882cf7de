"""What a trial goes through; each stage leaves a file of its own, and none imports another.

generate  images, of which features are kept
quality   how close they are to the reference
flops     multiply-adds of an image, counted
timing    latency, throughput, memory

figures   the table of all figures: names, units, which end is good, where a record has them
"""

CONFIDENCE = 0.95
"""Of every interval that a stage gives."""

VERSIONS = {"generate": 2, "quality": 3, "flops": 3, "timing": 3}
"""Part of every key. A stage's number is raised when it gives another result for the same trial; what old code has
measured is then measured anew, that stage alone (and those that build on it)."""
