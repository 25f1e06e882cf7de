"""The pages of docs/ and README.md, read by a program: the blocks of lines that they show, and what each line is."""

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def blocks(page: Path) -> Iterator[str]:
    """The indented blocks of a page, lines that end in a backslash joined with the next. Drawings are no commands."""
    shown = re.sub(r"^```text\n.*?^```\n", "", page.read_text() + "\n", flags=re.MULTILINE | re.DOTALL)
    for found in re.findall(r"(?:^    .*\n|^\n(?=    \S))+", shown, re.MULTILINE):
        text = re.sub(r"^    ", "", found, flags=re.MULTILINE).strip("\n")
        if text.strip():
            yield re.sub(r"\\\n\s*", "", text)


def is_data(block: str) -> bool:
    """Whether a block is TOML, or a list of what is in the repository's folders, and no command."""
    first = [line.split()[0] for line in block.splitlines() if line.strip()]
    if all((ROOT / word).exists() and word != "arbench" for word in first):  # the folder; the command is called so, too
        return True
    try:
        return bool(tomllib.loads(block))
    except tomllib.TOMLDecodeError:
        return False


def commands(page: Path) -> list[list[str]]:
    """The commands of a page, as words, without comments; several joined by && are several."""
    found = []
    for block in blocks(page):
        if not is_data(block):
            lines = (shlex.split(line, comments=True) for line in block.splitlines())
            found += [part for words in lines for part in _apart(words)]
    return found


def _apart(words: list[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in [*words, "&&"]:
        if word != "&&":
            part.append(word)
        elif part:
            yield part
            part = []


def ran(command: list[str], programs: Path, folder: Path) -> str:
    """What a command prints that is run in a folder; it has to end well."""
    done = subprocess.run(
        [str(programs / command[0]), *command[1:]],
        cwd=folder,
        env={"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
