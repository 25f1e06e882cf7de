"""The process of one part: ``python -m tests.programs.gpu.part ORDER FILE``.

ORDER is a file with what the part is given (``Order``). What the part finds is appended to FILE at once, a line of
JSON each, so that a process that dies leaves what it had: ``about``, ``line``, ``figures``, and ``done`` at the end.
"""

import faulthandler
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.machine.devices import checked
from tests.programs.gpu.about import about
from tests.programs.gpu.lines import finite
from tests.programs.gpu.parts import Bench, Part, attempt, broke
from tests.programs.gpu.settings import FAKE, REAL

Send = Callable[[str, Any], None]


@dataclass(frozen=True)
class Order:
    """What the process of a part is told."""

    part: dict[str, Any]  # the fields of a Part
    device: str
    fake: bool  # whether it is a rehearsal
    folder: str  # for files that are not kept
    official: str | None
    inception: str | None
    seconds: float  # the part's share of the time
    limit: float  # it is ended so many seconds after it began
    began: float  # when it was started, by time.monotonic(), which all processes share; imports count
    since: float  # when the program began, likewise
    figures: dict[str, Any]  # of the parts before it

    def written(self, path: Path) -> None:
        """Write the order to a file."""
        path.write_text(json.dumps(finite(asdict(self))), encoding="utf-8")


def main() -> int:
    """Run the part."""
    faulthandler.enable()  # a crash below Python leaves a traceback
    order = Order(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    with Path(sys.argv[2]).open("a", encoding="utf-8") as file:

        def send(kind: str, value: Any) -> None:
            file.write(json.dumps({kind: finite(value)}) + "\n")
            file.flush()

        _run(order, send)
    return 0


def _run(order: Order, send: Send) -> None:
    part = Part(**order.part)

    def tell(line: str) -> None:
        print(f"[{time.monotonic() - order.since:4.0f} s] {line}", flush=True)

    bench = Bench(
        checked(order.device),
        FAKE if order.fake else REAL,
        Path(order.folder),
        tell,
        None if order.official is None else Path(order.official),
        None if order.inception is None else Path(order.inception),
        order.seconds,
        order.limit,
        dict(order.figures),
        order.began,
    )
    try:
        send("about", about(bench.device))
    except Exception as error:  # what the machine is must not decide whether it is measured
        send("line", vars(broke(bench, "", "what the program runs on", error)))
    last = None
    for line in attempt(part, bench):
        send("line", vars(line))
        # Sent again with each line, so that a process that dies later leaves the figures of its lines.
        found = json.dumps(finite(bench.figures.get(part.name)))
        if found != last:
            send("figures", bench.figures.get(part.name))
            last = found
    send("done", True)


if __name__ == "__main__":
    sys.exit(main())
