"""The command `arbench`; everything else is in harness, baselines, methods and reports."""
