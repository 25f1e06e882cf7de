"""The instrument: protocol, sweeps, stages and stores. It knows no method by name."""

import os
import sys

# torch's threads wait for each other several hundred times an image. By default they wait actively, for milliseconds: a
# thread whose partner has no core keeps its own busy, so that a machine with other work gets several times slower than
# its share. Measured on two cores with six other tasks (median of an image of var, batch 1): 197 ms so, 52 ms if they
# sleep while they wait. libgomp reads this when torch is loaded; what the user has set holds.
if "torch" not in sys.modules:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
