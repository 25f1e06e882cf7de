"""The papers of methods: where they are, and how they are cited."""

import re
import tomllib
from functools import cache
from pathlib import Path

NUMBER = re.compile(r"\b(\d{2})(\d{2})\.(\d{4,5})\b")


def link(paper: str) -> str:
    """The web address of a paper that is named by its arXiv number. Returns "" for any other text: it gets no link."""
    found = NUMBER.search(paper)
    return f"https://arxiv.org/abs/{found[0]}" if found else ""


def bibtex(paper: str) -> str:
    """The BibTeX entry of a paper that is named by its arXiv number; "" for other papers.

    The entry has title and authors if papers.toml has them; nothing is made up.
    """
    found = NUMBER.search(paper)
    if not found:
        return ""
    fields = {
        **_known().get(found[0], {}),
        "year": f"20{found[1]}",
        "eprint": found[0],
        "archivePrefix": "arXiv",
        "url": f"https://arxiv.org/abs/{found[0]}",
    }
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@misc{{arxiv{found[1]}{found[2]}{found[3]},\n{lines}\n}}"


@cache
def _known() -> dict[str, dict[str, str]]:
    return tomllib.loads((Path(__file__).parent / "papers.toml").read_text(encoding="utf-8"))
