"""The command ``arbench``, also ``python -m arbench``.

It checks that Python finds our own packages, then runs ``harness.cli``. The names of our packages are common words. If
a project has its own ``reports`` in the current folder, beside a script or on PYTHONPATH, Python finds it before ours.
Another distribution can also install a package of such a name in the same environment.
"""

import sys

from arbench.packages import conflict


def main() -> int:
    """Run the command. If another module is in the way of one of our packages, print one line that names it instead."""
    problem = conflict()
    if problem is not None:
        print(f"arbench: {problem}", file=sys.stderr)
        return 2
    from harness.cli import main as command  # late: before the check, it could be another's

    return command()


if __name__ == "__main__":
    sys.exit(main())
