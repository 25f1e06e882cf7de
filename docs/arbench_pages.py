"""What Sphinx needs to know of arbench: docstrings are prose, not reStructuredText; the command line documents itself.

``.. arbench-commands::`` shows the help of every sub-command, from the parser that runs them, so that no option is
missing and none is gone.
"""

import argparse
import ast
import inspect
import io
import os
import re
import textwrap
import tokenize
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from harness.cli.command import parser

WIDTH = 100
LITERAL = re.compile(r"(``.+?``)")
MARKUP = re.compile(r"([\\*|`_])")
ITEM = re.compile(r" *(- |\d\. )")
TOML = re.compile(r"\[{1,2}[\w.]+\]|[\w-]+ = ")


def subcommands(whole: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all sub-commands, those of sub-commands too, in order."""
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield one
                yield from subcommands(one)


class Commands(SphinxDirective):
    """A section a sub-command, with what its ``--help`` prints."""

    def run(self) -> list[nodes.Node]:
        """The sections."""
        os.environ["COLUMNS"] = str(WIDTH)
        sections: list[nodes.Node] = []
        for one in subcommands(parser()):
            section = nodes.section(ids=[nodes.make_id(one.prog)])
            section += nodes.title(text=one.prog)
            section += nodes.literal_block(text=one.format_help(), language="text")
            self.state.document.note_implicit_target(section, section)
            sections.append(section)
        return sections


def as_rst(lines: list[str]) -> list[str]:
    """A docstring's lines as reStructuredText that says the same: nothing but ``literals`` is markup, lists begin after
    a blank line; indented blocks, and paragraphs that are TOML, are kept as they are."""
    found: list[str] = []
    block = toml = False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            found.append("")
            continue
        fresh = not found or not found[-1].strip()
        toml = bool(TOML.match(line)) if fresh else toml
        if toml:
            found += [*(["::", ""] if fresh else []), "    " + line]
            continue
        block = indent >= 2 and not ITEM.match(line) and (block or fresh)
        if block:
            if fresh and not (len(found) > 1 and found[-2].startswith("    ")):
                found += ["::", ""]
            found.append("    " + line)
            continue
        before = "" if fresh else found[-1]
        listed = bool(ITEM.match(before)) or before.startswith("  ")
        if before and listed != (bool(ITEM.match(line)) or indent > 0):
            found.append("")  # a list begins or ends
        found.append(
            "".join(part if LITERAL.fullmatch(part) else MARKUP.sub(r"\\\1", part) for part in LITERAL.split(line))
        )
    return found


def fields(owner: type) -> list[str]:
    """The fields of a class with the comments that explain them in its source, as lines of a list: a comment stands on
    the field's line, or in the lines right above it."""
    try:
        source = textwrap.dedent(inspect.getsource(owner))
    except (OSError, TypeError):  # made at run time
        return []
    (body,) = ast.parse(source).body
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token for token in tokens if token.type == tokenize.COMMENT}
    found = []
    for node in body.body if isinstance(body, ast.ClassDef) else ():
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.target.id[0] == "_":
            continue
        place = node.lineno - 1
        above: list[str] = []
        while place in comments and not comments[place].line[: comments[place].start[1]].strip():
            above.insert(0, comments[place].string)
            place -= 1
        beside = [comments[node.end_lineno].string] if node.end_lineno in comments else above
        words = " ".join(comment.lstrip("# ") for comment in beside)
        if words and not words.startswith(("noqa", "type:")):
            found.append(f"- ``{node.target.id}``: {words}")
    return found


def _docstring(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    listed = fields(thing) if what == "class" else []
    lines[:] = as_rst([*lines, *([""] if listed else []), *listed])


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.add_directive("arbench-commands", Commands)
    app.connect("autodoc-process-docstring", _docstring)
    return {"parallel_read_safe": True}
