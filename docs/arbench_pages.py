"""What Sphinx needs to know of arbench: docstrings are prose, not reStructuredText; the command line documents itself.

``.. arbench-commands::`` shows the help of every sub-command, from the parser that runs them, so that no option is
missing and none is gone. ``.. arbench-record::`` shows a record that was really measured, with the comments of its
shape.
"""

import argparse
import ast
import inspect
import io
import json
import os
import re
import textwrap
import tokenize
from collections.abc import Iterator
from typing import Any, get_type_hints

from docutils import nodes
from msgspec import Struct
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from harness.cli.command import parser
from harness.records import shape
from harness.run.verification import BUNDLED
from harness.stages.figures import scores

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


def comments(owner: type) -> dict[str, str]:
    """The comments that explain the fields of a class in its source: a comment stands on the field's line, or in the
    lines right above it."""
    try:
        source = textwrap.dedent(inspect.getsource(owner))
    except (OSError, TypeError):  # made at run time
        return {}
    (body,) = ast.parse(source).body
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    there = {token.start[0]: token for token in tokens if token.type == tokenize.COMMENT}
    found = {}
    for node in body.body if isinstance(body, ast.ClassDef) else ():
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.target.id[0] == "_":
            continue
        place = node.lineno - 1
        above: list[str] = []
        while place in there and not there[place].line[: there[place].start[1]].strip():
            above.insert(0, there[place].string)
            place -= 1
        beside = [there[node.end_lineno].string] if node.end_lineno in there else above
        words = " ".join(comment.lstrip("# ") for comment in beside)
        if words and not words.startswith(("noqa", "type:")):
            found[node.target.id] = words
    return found


def parts(owner: type[Struct]) -> dict[str, tuple[str, Any]]:
    """The parts of a section of a record: what each means, and its type."""
    said = {
        name: words for one in reversed(owner.__mro__) if one is not object for name, words in comments(one).items()
    }
    said |= {one.name: one.about for one in scores()} if owner is shape.Quality else {}
    return {name: (said.get(name, ""), kind) for name, kind in get_type_hints(owner).items()}


def example(found: dict[str, Any], owner: type[Struct], indent: int = 0) -> list[str]:
    """A section of a record in lines of text, each with what it means."""
    lines = []
    for name, (words, hint) in parts(owner).items():
        inner = shape.section(hint)
        value = found.get(name)
        if inner is not None and isinstance(value, dict):
            about = " ".join((words or inspect.getdoc(inner) or "").split())
            lines.append(f"{' ' * indent}{name}:  # {about}")
            lines += example(value, inner, indent + 4)
        else:
            text = f"{' ' * indent}{name} = {_short(value)}"
            lines.append(f"{text}  # {words}" if words else text)
    return lines


def _short(value: Any) -> str:
    """A value as the example shows it: long texts and lists are cut."""
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{name}: {_short(one)}" for name, one in list(value.items())[:2])
            + (", ...}" if len(value) > 2 else "}")
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_short, value[:2])) + (", ...]" if len(value) > 2 else "]")
    if isinstance(value, float):
        return f"{value:.6g}"
    text = json.dumps(value)
    return text if len(text) <= 40 else f'{text[:36]}..."'


class Example(SphinxDirective):
    """A record that comes with arbench."""

    def run(self) -> list[nodes.Node]:
        """The block."""
        record = json.loads(min(BUNDLED.glob("*.json")).read_text(encoding="utf-8"))
        return [nodes.literal_block(text="\n".join(example(record, shape.Record)), language="text")]


def _docstring(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    listed = [f"- ``{name}``: {words}" for name, words in comments(thing).items()] if what == "class" else []
    lines[:] = as_rst([*lines, *([""] if listed else []), *listed])


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""
    app.add_directive("arbench-commands", Commands)
    app.add_directive("arbench-record", Example)
    app.connect("autodoc-process-docstring", _docstring)
    return {"parallel_read_safe": True}
