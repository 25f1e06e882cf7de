"""A few damaged and odd files of every kind that is read: each right, or one clear line with nothing written.

``python -m tests.corpus`` takes 2,000.
"""

from pathlib import Path

from tests.corpus.__main__ import chosen, in_words, run

FILES = 120


def test_damaged_and_odd_files_of_every_kind_are_right_or_one_clear_line(tmp_path: Path) -> None:
    table, bad = run(chosen(FILES), tmp_path)
    assert not bad, f"{bad}\n{in_words(table)}"
    assert sum(found["one line"] for found in table.values()) > FILES / 3
    assert sum(found["right"] for found in table.values()) > FILES / 10


def test_the_corpus_sees_what_it_looks_for() -> None:
    from tests.corpus.cases import Outcome

    assert Outcome(2, ("arbench: it is odd",)).verdict == "one line"
    assert Outcome(0).verdict == "right"
    assert Outcome(0, refused=True).verdict == "accepted"
    assert Outcome(2, ("arbench: it is odd",), changed=("store",)).verdict == "wrote"
    assert Outcome(2, ("Warning: odd", "arbench: it is odd")).verdict == "other lines"
    assert Outcome(2).verdict == "other lines"
    assert Outcome(None, fault="ValueError: odd").verdict == "traceback"
    assert Outcome(None, fault="hung: samples.py").verdict == "hung"
