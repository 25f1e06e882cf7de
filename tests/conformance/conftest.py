"""The suite's own fixtures hold here, too."""

from harness.conformance.conftest import _one_thread

__all__ = ["_one_thread"]
