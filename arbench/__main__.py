"""The command ``arbench``, also ``python -m arbench``: makes sure of our own packages, then runs ``harness.cli``.

Their names are common words. A project's own ``reports`` in the current folder, beside a script or on PYTHONPATH comes
before ours, and another distribution can install one into the same environment.
"""

import sys

from arbench.packages import conflict


def main() -> int:
    """Run the command, or say in one line which module is in the way of one of ours."""
    problem = conflict()
    if problem is not None:
        print(f"arbench: {problem}", file=sys.stderr)
        return 2
    from harness.cli import main as command  # late: it may be another's before the above

    return command()


if __name__ == "__main__":
    sys.exit(main())
