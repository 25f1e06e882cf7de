"""Keep a run going when standard output or standard error fails. Such a stream can be closed, its disk can be full, or
its encoding can lack characters."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class Lenient:
    """Wraps a stream and catches its errors, so that they do not reach the code that writes. After the first error,
    everything that is written is dropped."""

    def __init__(self, stream: TextIO, raised: tuple[type[OSError], ...] = ()) -> None:
        self._stream, self._raised = stream, raised  # raised: faults that are raised all the same
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text to the stream. If the stream fails, or has failed before, the text is dropped."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def done(self) -> bool:
        """Flush; returns whether everything was written. If not, the reason is printed on standard error."""
        self.flush()
        if self.fault is not None:
            print(f"arbench: standard output: {self.fault.strerror or self.fault}", file=sys.stderr)
        return self.fault is None

    def flush(self) -> None:
        """Flush the stream. If the stream fails, the text that it still holds is dropped."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        if isinstance(error, self._raised):
            raise error
        self.fault = self.fault or error
        drop(self._stream)


def drop(stream: TextIO) -> None:
    """Redirect a stream to the null device, since Python writes to the stream once more when the process ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


@contextlib.contextmanager
def lenient() -> Iterator[Lenient]:
    """Inside the ``with``, standard output and standard error are ``Lenient`` streams. Yields standard output. One
    error of standard output is still raised: BrokenPipeError, if the program that reads it has ended (``| head``)."""
    _fill_gaps()
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        out, err = (
            stream or stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
            for stream in before
        )
        for stream in (out, err):
            if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")
        lenient_out = Lenient(out, (BrokenPipeError,))
        sys.stdout, sys.stderr = cast(TextIO, lenient_out), cast(TextIO, Lenient(err))
        try:
            yield lenient_out
        finally:
            try:
                lenient_out.flush()
            except BrokenPipeError:
                drop(out)
            sys.stdout, sys.stderr = before


def _fill_gaps() -> None:
    """Open the null device for each of the descriptors 0 to 2 that is closed. Otherwise the next file to be opened
    would get the number of a standard stream, and warnings on standard error could be written into that file."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
