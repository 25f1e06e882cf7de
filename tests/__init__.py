"""Tests. A package, so that `tests.helpers.fakes` is ours and not some other distribution's top-level `tests`."""
