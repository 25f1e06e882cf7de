"""The conformance suite: tests that every method passes. ``arbench check PACKAGE`` runs it on a package's methods. A
knob is a setting that a method declares, with its valid values.

    subjects      the methods under test, and their images
    test_methods  shapes, ranges, images that do not depend on the rest of their batch, costs
    test_capture  on a GPU, a method at fixed settings asks nothing of the host (on fake tensors: fake_cuda)
    test_knobs    every knob has an effect, and invalid values are refused
    test_steps    methods that decode in steps
    check         ``arbench check``

The suite ships with arbench, so that a package which adds methods needs no checkout of arbench. ``tests/conformance``
runs the suite on arbench's own methods.
"""
