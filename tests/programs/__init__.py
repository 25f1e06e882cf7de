"""Programs of nox that measure arbench itself: `nox -s coverage`, `copies`, `overhead`, `sparse`, `large`, `gpu`."""
