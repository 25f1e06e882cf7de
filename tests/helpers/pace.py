"""How slow this machine is, for tests that bound seconds: the bounds are those of a machine of pace 1."""

import json
import time

from tests.helpers import fakes_store

ROUNDS, SECONDS = 4000, 0.28
"""A record written and read so many times; the seconds of a processor that this takes where the pace is 1, which is
about that of an AMD EPYC on which a report of 5,000 records takes 27 s."""


def pace() -> float:
    """By how much longer a processor takes here for the same Python work, at least 1: the quickest of five tries."""
    record = fakes_store.records()[0]
    tries = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(ROUNDS):
            json.loads(json.dumps(record))
        tries.append(time.process_time() - began)
    return max(1.0, min(tries) / SECONDS)
