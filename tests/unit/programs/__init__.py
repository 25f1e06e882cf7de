"""What nox's programs (tests/programs) compute and say."""
