"""No code that CPython 3.12.0 to 3.12.3 (Ubuntu 24.04's Python) or 3.13.0 compiles wrongly."""

from pathlib import Path

import pytest

from tests.helpers.comprehensions import mistaken

ROOT = Path(__file__).parents[2]
SOURCES = ("noxfile.py", "chores", "docs", "arbench", "harness", "baselines", "methods", "reports", "tests")

REFUSED = {
    "another comprehension": """
def sheets():
    names = [measure.name for measure in MEASURES]
    return [measure(one) for one in MEASURES]
""",
    "a comprehension in a comprehension": """
def f():
    names = [[m for m in row] for row in rows]
    return {key: value for key in names for value in m(key)}
""",
    "a condition in a lambda": "f = lambda: ([m for m in X], [x for x in X if m(x)])",
    "a built-in name": "def f():\n    return {id for id in X}, {id(x) for x in X}",
    "what the first `for` goes through": "def f():\n    return [m(x) for x in [m.name for m in X]]",
    "a walrus": "def f():\n    return [m for m in X], [(last := m(x)) for x in X], last",
    "a default of a function": "def f():\n    a = [m for m in X]\n    def g(b=[m(x) for x in X]): ...",
    "a generator expression's frame": "def f():\n    return list(([m for m in X], [m(x) for x in X]) for _ in X)",
    "an enclosing function's variable, read by a function": """
def f(m):
    def g():
        names = [m.name for m in X]
        return lambda: m(1)
    return g
""",
    "an enclosing function's variable, a class": """
def f(m):
    def g():
        names = [m.name for m in X]
        class C:
            value = m(1)
    return g
""",
}
ACCEPTED = {
    "two names": "def f():\n    names = [row.name for row in X]\n    return [measure(row) for row in X]",
    "one variable in two comprehensions": "def f():\n    return [m for m in X], {m: 1 for m in X}",
    "a local variable": "def f():\n    m = g()\n    return [m for m in X], [m(x) for x in X]",
    "a parameter": "def f(m):\n    return [m for m in X], [m(x) for x in X]",
    "a global statement": "def f():\n    global m\n    return [m for m in X], [m(x) for x in X]",
    "a generator expression's variable": "def f():\n    return list(m for m in X), [m(x) for x in X]",
    "another function": "def f():\n    return [m for m in X]\ndef g():\n    return [m(x) for x in X]",
    "a module": "a = [m for m in X]\nb = [m(x) for x in X]",
    "an inner function's parameter": "def f():\n    return [m for m in X], lambda m: m(1)",
}


@pytest.mark.parametrize("source", REFUSED.values(), ids=REFUSED)
def test_a_comprehension_whose_variable_is_also_read_as_something_else_is_refused(source: str) -> None:
    assert [name for _, name in mistaken(source)] in (["m"], ["id"], ["measure"])


@pytest.mark.parametrize("source", ACCEPTED.values(), ids=ACCEPTED)
def test_a_comprehension_whose_variable_is_its_own_is_accepted(source: str) -> None:
    assert mistaken(source) == []


def test_no_function_of_ours_reads_a_name_that_is_also_a_comprehensions_variable() -> None:
    paths = [
        path for name in SOURCES for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))
    ]
    assert len(paths) > 100
    found = [f"{path.relative_to(ROOT)}:{line}: {name}" for path in paths for line, name in mistaken(path.read_text())]
    assert found == []
