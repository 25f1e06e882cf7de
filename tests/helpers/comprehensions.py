"""Finds code that CPython 3.12.0 to 3.12.3, or 3.13.0, compiles wrongly because of a comprehension's variable.

Since 3.12 a list, set or dict comprehension in a function is compiled into that function, and its variable becomes a
local of it. Where the same name is read elsewhere in the function and means something global there, 3.12.0 to 3.12.3
look for the local; where it means a variable of an enclosing function, so does 3.13.0. It depends on the order and the
place of both whether that ends in an UnboundLocalError, so any such name is refused: a comprehension's variable gets a
name that its function does not read for anything else.
"""

import ast
from collections.abc import Iterable, Iterator

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
INLINED = (ast.ListComp, ast.SetComp, ast.DictComp)
COMPREHENSIONS = (*INLINED, ast.GeneratorExp)
NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)


def mistaken(source: str) -> list[tuple[int, str]]:
    """Line of a function and the name in it that may be taken for a comprehension's variable."""
    scopes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (*FUNCTIONS, ast.GeneratorExp))]
    return sorted((scope.lineno, name) for scope in scopes for name in _mistaken_in(scope))


def _mistaken_in(scope: ast.AST) -> set[str]:
    within = _body(scope)
    bound = _bound(scope)
    variables = {name for node in _frame(within) if isinstance(node, INLINED) for name in _targets(node)}
    return variables & _read(within) - bound


def _body(scope: ast.AST) -> list[ast.AST]:
    """What runs in the frame of a function or a generator expression."""
    if isinstance(scope, ast.Lambda):
        return [scope.body]
    if isinstance(scope, COMPREHENSIONS):
        return _inside(scope)
    return list(scope.body) if isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)) else []


def _around(scope: ast.AST) -> list[ast.AST]:
    """Parts of a function, class or comprehension that run in the frame around it, before it."""
    if isinstance(scope, COMPREHENSIONS):
        return [scope.generators[0].iter]
    inside = {id(node) for node in (scope.body if isinstance(scope.body, list) else [scope.body])}  # type: ignore[attr-defined]
    return [child for child in ast.iter_child_nodes(scope) if id(child) not in inside]


def _inside(comprehension: ast.AST) -> list[ast.AST]:
    """All of a comprehension but what its first `for` goes through."""
    first = comprehension.generators[0]  # type: ignore[attr-defined]
    parts = [child for child in ast.iter_child_nodes(comprehension) if child is not first]
    return [*parts, first.target, *first.ifs]


def _frame(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes that run in the frame of these, inlined comprehensions included."""
    for node in nodes:
        yield node
        apart = isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.GeneratorExp))
        yield from _frame(_around(node) if apart else ast.iter_child_nodes(node))


def _targets(comprehension: ast.AST) -> set[str]:
    targets = [part.target for part in comprehension.generators]  # type: ignore[attr-defined]
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def _bound(scope: ast.AST) -> set[str]:
    """Names that are certainly a function's own: parameters, and what it assigns, outside its comprehensions."""
    if isinstance(scope, ast.GeneratorExp):
        return _targets(scope)
    names = {node.arg for node in ast.walk(scope.args) if isinstance(node, ast.arg)}  # type: ignore[attr-defined]
    outer: set[str] = set()
    for node in _frame(_body(scope)):
        if isinstance(node, ast.Nonlocal):
            outer.update(node.names)
        elif isinstance(node, ast.Global):
            names.update(node.names)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, NAMED) and node.name:
            names.add(node.name)
    return names | _assigned(_body(scope)) - outer


def _assigned(nodes: Iterable[ast.AST]) -> set[str]:
    """Names assigned in a frame; the variables of its comprehensions are not, what `:=` in one assigns is."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        elif isinstance(node, COMPREHENSIONS):
            walrus = [part.target for part in _frame([node]) if isinstance(part, ast.NamedExpr)]
            names |= {target.id for target in walrus}
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names |= _assigned(_around(node))
        else:
            names |= _assigned(ast.iter_child_nodes(node))
    return names


def _read(nodes: Iterable[ast.AST]) -> set[str]:
    """Names read in a frame, or in functions within it, that are not the variable of a comprehension around them."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name):
            names |= {node.id} if isinstance(node.ctx, ast.Load) else set()
        elif isinstance(node, COMPREHENSIONS):
            names |= _read(_around(node)) | _read(_inside(node)) - _targets(node)
        elif isinstance(node, FUNCTIONS):
            names |= _read(_around(node)) | _read(_body(node)) - _bound(node)
        else:
            names |= _read(ast.iter_child_nodes(node))
    return names
