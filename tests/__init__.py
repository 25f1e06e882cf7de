"""Tests. A package, so that `tests.fakes` is ours and not some other distribution's top-level `tests`."""
