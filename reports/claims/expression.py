"""The language in which claims are written: arithmetic, comparisons, ``and``, ``or``, ``not`` over numbers.

    ear.fid < raster.fid and ear.steps <= raster.steps / 3

A figure is a number, such as a FID. It is written ``operand.figure``: first the operand's name in the claim, then the
figure's name. A name that is a reserved word in Python gets an underscore at its end (``var.is_``).

Every comparison allows for the claim's tolerance, which is relative to the right side of the comparison. ``==`` holds
if both sides are equal within the tolerance.

Python's module ``ast`` parses the text. An expression can consist only of the kinds of nodes that this module names.
Python never runs any of the text.
"""

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import ArbenchError

Values = NDArray[np.float64]
Truths = NDArray[np.bool_]
Name = tuple[str, str]
"""A number in an expression, such as ``ear.fid``: the operand's name in the claim, and the figure's name."""

LONGEST = 600
"""The greatest number of characters of an expression; a claim that needs more is several claims."""
DEEPEST = 20

ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {"abs": np.abs, "min": np.minimum, "max": np.maximum}
SLACK: Mapping[type[ast.cmpop], Callable[[Any, Any, Any], Any]] = {
    ast.Lt: lambda left, right, slack: left < right + slack,
    ast.LtE: lambda left, right, slack: left <= right + slack,
    ast.Gt: lambda left, right, slack: left > right - slack,
    ast.GtE: lambda left, right, slack: left >= right - slack,
    ast.Eq: lambda left, right, slack: np.abs(left - right) <= slack,
}


@dataclass(frozen=True)
class Expression:
    """A parsed expression."""

    text: str
    tree: ast.expr
    names: frozenset[Name]  # the figures (``ear.fid``) that occur in the expression

    def holds(self, values: Mapping[Name, Values], tolerance: float) -> Truths:
        """Whether the expression holds, in each draw of the bootstrap.

        values: name of a figure -> its values in R draws (replicates), [R], or a single number.

        Raises ArbenchError if a side of a comparison is not finite, as after a division by zero.
        """
        with np.errstate(all="ignore"):
            return np.asarray(_truth(self.tree, values, tolerance))


def parse(text: str) -> Expression:
    """Parse an expression. Raises ArbenchError that names the part that is not in the language."""
    if len(text) > LONGEST:
        raise ArbenchError(f"expression of {len(text)} characters (valid: up to {LONGEST})")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ArbenchError(f"expression {text!r}: {getattr(error, 'msg', None) or error}") from error
    names: set[Name] = set()
    _check(tree, True, names, 0)
    return Expression(text, tree, frozenset(names))


def _check(node: ast.expr, truth: bool, names: set[Name], depth: int) -> None:
    """Check that a node and all nodes below it belong to the language; add the names of figures to ``names``.

    truth: True if the node must be a truth value, False if the node must be a number.

    Raises ArbenchError for a node that is not in the language, for a number where a truth value is needed, and for a
    truth value where a number is needed.
    """
    if depth > DEEPEST:
        raise ArbenchError(f"expression is nested more than {DEEPEST} deep")
    match node:
        case ast.BoolOp(values=parts) if truth:
            inner = [(part, True) for part in parts]
        case ast.UnaryOp(op=ast.Not(), operand=part) if truth:
            inner = [(part, True)]
        case ast.Compare(left=left, ops=ops, comparators=rest) if truth and all(type(op) in SLACK for op in ops):
            inner = [(part, False) for part in (left, *rest)]
        case ast.BinOp(left=left, op=op, right=right) if not truth and type(op) in ARITHMETIC:
            inner = [(left, False), (right, False)]
        case ast.UnaryOp(op=ast.USub(), operand=part) if not truth:
            inner = [(part, False)]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if not truth and _takes(name, args):
            inner = [(part, False) for part in args]
        case ast.Attribute(value=ast.Name(id=whose), attr=figure) if not truth:
            names.add((whose, figure.removesuffix("_")))
            inner = []
        case ast.Constant(value=int() | float() as value) if not truth and _plain(value):
            inner = []
        case _:
            wanted = "a comparison" if truth else "a number"
            raise ArbenchError(f"expression: {ast.unparse(node)[:60]!r} is not {wanted} that claims may be made of")
    for part, part_truth in inner:
        _check(part, part_truth, names, depth + 1)


def _takes(name: str, args: list[ast.expr]) -> bool:
    return name in FUNCTIONS and len(args) == (1 if name == "abs" else 2)


def _plain(value: float) -> bool:
    return not isinstance(value, bool) and abs(value) < 1e18 and math.isfinite(value)


def _truth(node: ast.expr, values: Mapping[Name, Values], tolerance: float) -> Any:
    match node:
        case ast.BoolOp(op=op, values=parts):
            found = [_truth(part, values, tolerance) for part in parts]
            together = np.logical_and if isinstance(op, ast.And) else np.logical_or
            whole = found[0]
            for one in found[1:]:
                whole = together(whole, one)
            return whole
        case ast.UnaryOp(operand=part):
            return np.logical_not(_truth(part, values, tolerance))
        case ast.Compare(left=left, ops=ops, comparators=rest):
            ends = [_number(part, values) for part in (left, *rest)]
            if not all(np.isfinite(end).all() for end in ends):
                raise ArbenchError(f"{ast.unparse(node)[:60]!r} takes a value that is not finite")
            pairs = zip(ops, ends, ends[1:], strict=False)
            found = [SLACK[type(op)](one, other, tolerance * np.abs(other)) for op, one, other in pairs]
            return np.logical_and.reduce(np.broadcast_arrays(*found))
    raise AssertionError(f"{ast.dump(node)} has passed the check")


def _number(node: ast.expr, values: Mapping[Name, Values]) -> Any:
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            return ARITHMETIC[type(op)](_number(left, values), _number(right, values))
        case ast.UnaryOp(operand=part):
            return -_number(part, values)
        case ast.Call(func=ast.Name(id=name), args=args):
            return FUNCTIONS[name](*(_number(part, values) for part in args))
        case ast.Attribute(value=ast.Name(id=whose), attr=figure):
            return values[whose, figure.removesuffix("_")]
        case ast.Constant(value=value):
            return np.float64(value)  # type: ignore[arg-type]  # checked to be a number
    raise AssertionError(f"{ast.dump(node)} has passed the check")
