"""The conformance suite (harness/conformance) on every registered method, and what our own must do besides."""
