"""The page of claims: what papers state, the verdicts of this store, and where published numbers disagree."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reports.claims.claim import SCALES, shipped
from reports.claims.evidence import Evidence
from reports.claims.verdict import UNDECIDED, WORDS, Figure, Verdict, judge
from reports.published import PROVENANCES, disagreements, published
from reports.sheets import Sheet
from reports.site import Site, short


def sheets(site: Site, out: Path) -> Iterator[Sheet]:
    """The page claims.html."""
    evidence = Evidence(site.store, site.records.values())
    verdicts = [judge(claim, evidence) for claim in shipped()]
    papers: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in verdicts:
        papers.setdefault((one.claim.paper, one.claim.link), []).append(_row(site, one))
    counts = Counter(one.word for one in verdicts)
    content = {
        "papers": papers,
        "counts": [(word, counts[word]) for word in WORDS],
        "disagreements": disagreements(published()),
        "provenances": PROVENANCES,
    }
    yield Sheet("claims.html", "What papers claim", "claims.html", content, "Claims")


def _row(site: Site, verdict: Verdict) -> dict[str, Any]:
    claim = verdict.claim
    return {
        "id": claim.id,
        "statement": claim.statement,
        "source": claim.source,
        "scale": SCALES[claim.scale],
        "small": claim.scale != "paper",
        "checks": claim.checks,
        "expression": claim.expression.text,
        "tolerance": f"{claim.tolerance:.0%}" if claim.tolerance else "",
        "word": verdict.word,
        "share": f"{verdict.share:.0%}" if verdict.word == UNDECIDED and verdict.share is not None else "",
        "missing": verdict.missing,
        "figures": [_figure(site, figure) for figure in verdict.figures],
    }


def _figure(site: Site, figure: Figure) -> dict[str, str]:
    """A measured number in words, and a link to the trial that measured it. Without such a trial, the link is ""."""
    known = [key for key in figure.keys if key in site.records]
    return {"words": str(figure), "where": figure.where, "href": f"trial.html#{short(known[0])}" if known else ""}
