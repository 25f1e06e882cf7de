"""What a trial goes through: generate, quality, flops, timing. Each stage leaves a file of its own."""

VERSIONS = {"generate": 2, "flops": 3, "timing": 3}
"""Part of every key, like quality's METRIC_VERSION. A stage's number is raised when it gives another result for the
same trial; what old code has measured is then measured anew, that stage alone (and those that build on it)."""
