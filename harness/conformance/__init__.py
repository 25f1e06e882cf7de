"""What every method must do that is registered, a stranger's too: one suite, run by ``arbench check PACKAGE``.

It ships with arbench, so that a package which adds methods needs no checkout. ``tests/conformance`` runs it on ours.
"""
