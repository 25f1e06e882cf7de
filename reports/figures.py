"""Static plots of trade-offs by matplotlib, as SVG, PNG and PDF. A method has the same colour and marker everywhere."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from harness.plugins import looks as declared
from harness.stages.figures import Figure
from reports.certainty import ON, UNDECIDED
from reports.frontier import frontier, staircase
from reports.names import safe
from reports.table import HIGH, LOW, SPARSITY, figure, rank

INK, PALE, GRID, FLOOR = "#1b1f24", "#8b949e", "#e6e8eb", "#6e7781"
WIDTH, HEIGHT = 5.4, 4.3  # inches: text stays readable if a phone shrinks the plot to 370 pixels
# If a method has more markers than this, a plot for print holds them as pixels: thousands of shapes are megabytes.
MANY = 300
DPI = 150
NARROW = 3.0  # an axis that spans less than this factor is linear

RC: Any = {
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",  # text stays text: it can be selected and read aloud, and the files are small
    "pdf.fonttype": 42,  # TrueType: text of a PDF can be selected, and publishers take it
    "svg.hashsalt": "arbench",  # the same store gives the same bytes
}


@dataclass(frozen=True)
class Style:
    """How a method is drawn in all plots."""

    colour: str  # hex
    mark: str  # matplotlib's name of the marker
    label: str  # the method's name, cut to 24 characters


SPARE = tuple(itertools.product(("<", ">", "h", "*", "d"), ("#332288", "#999933", "#aa4499", "#117733", "#661100")))


@dataclass(frozen=True)
class Drawn:
    """A plot on disk."""

    # svg, png, pdf: file names in the folder of plots
    svg: str
    png: str
    pdf: str
    title: str
    caption: str  # what the plot shows
    alt: str  # the plot in words


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """A style for every method name.

    If a package declares the colour and marker of its method (harness.plugins.looks), they are used. Other methods get
    the 25 spare styles, in the order of the methods' names. After the 25th method the spare styles start over.
    """
    names, known = set(methods), declared.looks()
    strangers = sorted(names - set(known))
    spare = {name: SPARE[i % len(SPARE)] for i, name in enumerate(strangers)}
    found = {}
    for name in sorted(names, key=rank):
        colour, mark = (known[name].colour, known[name].mark) if name in known else spare[name][::-1]
        found[name] = Style(colour, mark, _plain(name if len(name) <= 24 else f"{name[:23]}…"))
    return found


def tradeoff(
    settings: pd.DataFrame, x: Figure, y: Figure, looks: Mapping[str, Style], lines: Mapping[str, float], folder: Path
) -> Drawn | None:
    """Draw y against x: one point for each row of ``settings``, a curve for each method, and the frontier of all rows.

    Returns None if no row has both x and y.

    For each value of the knob ``steps``, a method's curve goes through the method's best setting with this value. If
    fewer than two values were measured, the curve is the method's frontier. Settings off the curve have small markers.
    A marker is hollow if the number of steps differs from image to image.

    settings: column ``standing`` says whether a row is on the frontier (reports.certainty).
    looks: how each method is drawn.
    lines: label -> value of y at which a horizontal line is drawn (the tokenizer's floor, the score of the test set).
    """
    rows = settings[settings[x.name].notna() & settings[y.name].notna()]
    if rows.empty:
        return None
    ends = (x.better or "low", y.better or "low")
    fig, ax = _axes()
    for name in present(looks, rows):
        own, look = rows[rows["method"] == name], looks[name]
        curve = _curve(own, x.name, y.name, ends)
        ax.plot(own.loc[curve, x.name], own.loc[curve, y.name], color=look.colour, lw=1.6, alpha=0.85, zorder=3)
        _marks(ax, own.drop(index=curve), x.name, y.name, look, size=4.5, alpha=0.45)
        _marks(ax, own.loc[curve], x.name, y.name, look, size=6.5, alpha=1.0)
    reached = staircase(rows[x.name], rows[y.name], ends)
    _bars(ax, rows, x.name, y.name, looks)
    ax.plot(*reached, color=PALE, lw=5, alpha=0.35, zorder=2, solid_joinstyle="round", solid_capstyle="round")
    _levels(ax, lines)
    _scale(ax, "x", rows[x.name])
    _scale(ax, "y", pd.concat([rows[y.name], pd.Series(list(lines.values()), dtype=float)]))
    if x.name == "steps":
        _whole_ticks(ax, rows.loc[_fixed(rows), "steps"])
    _label(ax, x, y)
    _legend(fig, [looks[name] for name in present(looks, rows)], frontier_line=True)
    caption = f"On the frontier at 95 %: {_counted(rows, ON, looks)}. Undecided: {_counted(rows, UNDECIDED, looks)}."
    return _save(
        fig, folder, f"{y.name}-{x.name}", f"{y.heading} against {x.heading}", f"{len(rows)} settings. {caption}"
    )


def sparsity(
    settings: pd.DataFrame, knob: str, y: Figure, looks: Mapping[str, Style], lines: Mapping[str, float], folder: Path
) -> Drawn | None:
    """Draw y against ``knob``, one of the two sparsity knobs. Returns None if no setting has the knob.

    A method's curve joins settings at which the other sparsity knob is zero. At each value of ``knob``, the curve
    goes through the best of these settings. All other settings have small markers.
    """
    column, other = f"knob:{knob}", f"knob:{SPARSITY[1 - SPARSITY.index(knob)]}"
    if column not in settings:
        return None
    rows = settings[settings[column].notna() & settings[y.name].notna()]
    if rows.empty:
        return None
    rows = rows.assign(**{column: rows[column].astype(float)})
    fig, ax = _axes()
    pure = rows[other].astype(float) == 0 if other in rows else pd.Series(True, index=rows.index)
    for name in present(looks, rows):
        mine, look = rows["method"] == name, looks[name]
        own = rows[mine & pure]
        best = own.loc[own.groupby(column)[y.name].idxmin()].sort_values(column)
        ax.plot(best[column], best[y.name], color=look.colour, lw=1.6, alpha=0.85, zorder=3)
        _marks(ax, rows[mine].drop(index=best.index), column, y.name, look, size=4.5, alpha=0.45)
        _marks(ax, best, column, y.name, look, size=6.5, alpha=1.0)
    on = staircase(rows[column], rows[y.name], ("high", "low"))
    ax.plot(*on, color=PALE, lw=5, alpha=0.35, zorder=2, solid_joinstyle="round", solid_capstyle="round")
    _levels(ax, lines)
    _scale(ax, "y", pd.concat([rows[y.name], pd.Series(list(lines.values()), dtype=float)]))
    ax.xaxis.set_major_locator(FixedLocator(sorted(rows[column].unique())))
    ax.set_xlabel(f"{knob} (fraction not computed)")
    ax.set_ylabel(f"{y.heading}{_hint(y)}")
    _legend(fig, [looks[name] for name in present(looks, rows)], frontier_line=True)
    caption = f"Curves: the other sparsity at zero. Small marks: both at work. {len(rows)} settings."
    return _save(fig, folder, f"{y.name}-{knob}", f"{y.heading} against {knob}", caption)


def guidance(
    settings: pd.DataFrame, board: pd.DataFrame, y: Figure, looks: Mapping[str, Style], folder: Path
) -> Drawn | None:
    """Draw y against guidance. Returns None if no method was measured at two values of guidance.

    ``board`` has the best setting of each method. Only settings with the same preset and knobs as the best setting of
    their method are drawn.
    """
    chosen = settings.merge(board[["method", "preset", "knobs"]], on=["method", "preset", "knobs"])
    rows = chosen[chosen[y.name].notna() & chosen["cfg"].notna()]
    if rows.empty or rows.groupby("method")["cfg"].nunique().max() < 2:
        return None
    fig, ax = _axes()
    for name in present(looks, rows):
        own, look = rows[rows["method"] == name], looks[name]
        best = own.loc[own.groupby("cfg")[y.name].idxmin()].sort_values("cfg")
        ax.plot(best["cfg"], best[y.name], color=look.colour, lw=1.6, alpha=0.85, zorder=3)
        _marks(ax, best, "cfg", y.name, look, size=6.5, alpha=1.0)
    _scale(ax, "y", rows[y.name])
    ax.set_xlabel("cfg (1 is no guidance)")
    ax.set_ylabel(f"{y.heading}{_hint(y)}")
    _legend(fig, [looks[name] for name in present(looks, rows)], frontier_line=False)
    caption = "Each method at its knobs of the leaderboard: where its guidance comes from."
    return _save(fig, folder, f"{y.name}-cfg", f"{y.heading} against guidance", caption)


def same_cost(settings: pd.DataFrame, x: Figure, y: Figure, drawn: Mapping[str, Style], folder: Path) -> Drawn | None:
    """Draw y against x for the sparse methods and for the dense methods with which they are compared.

    For each method, a stepped line shows the frontier of the method's own settings. If x is FLOPs, a vertical line
    shows the saving that a sparse method's paper states. Returns None if no sparse method was measured.
    """
    columns = [f"knob:{name}" for name in SPARSITY if f"knob:{name}" in settings]
    if not columns:
        return None
    known = settings[x.name].notna() & settings[y.name].notna()
    sparse = settings[known & settings[columns].notna().any(axis=1)]
    if sparse.empty:
        return None
    dense = settings[known & settings["method"].isin(bases_of(sparse))]
    fig, ax = _axes()
    rows = pd.concat([sparse, dense])
    for name in present(drawn, rows):
        own, look = rows[rows["method"] == name], drawn[name]
        on = own[frontier(own[x.name], own[y.name])]
        ax.plot(*staircase(own[x.name], own[y.name]), color=look.colour, lw=1.4, alpha=0.8, zorder=3)
        _marks(ax, own.drop(index=on.index), x.name, y.name, look, size=4.5, alpha=0.45)
        _marks(ax, on, x.name, y.name, look, size=6.5, alpha=1.0)
    caption = "Each method's own frontier over all of its sparse settings."
    if x.name == "gflops":
        caption += "".join(_stated_saving(ax, name, dense, x, y) for name in present(drawn, sparse))
    _scale(ax, "x", rows[x.name])
    _scale(ax, "y", rows[y.name])
    _label(ax, x, y)
    _legend(fig, [drawn[name] for name in present(drawn, rows)], frontier_line=False)
    return _save(fig, folder, f"{y.name}-{x.name}-sparse", f"{y.heading} against {x.heading}, sparse methods", caption)


def bases_of(sparse: pd.DataFrame) -> set[str]:
    """The dense methods that belong to the sparse methods in these rows.

    A sparse method is compared with its dense method. At zero sparsity the two are equal.
    """
    pairs = sparse[["method", "family"]].drop_duplicates().itertuples(index=False)
    return {declared.base_of(str(method), str(family)) for method, family in pairs}


def _stated_saving(ax: Axes, name: str, dense: pd.DataFrame, x: Figure, y: Figure) -> str:
    """Draw a line at the saving that the method's paper states. Returns the part of the caption that explains the line.
    If the paper states no saving, or if the dense method was not measured, draws nothing and returns ""."""
    look = declared.looks().get(name)
    if look is None or not look.saving or not dense["method"].eq(look.base).any():
        return ""
    own = dense[dense["method"] == look.base]
    place = float(own[x.name].iloc[int(own[y.name].argmin())]) * (1 - look.saving)
    ax.axvline(place, color=FLOOR, lw=1, ls=(0, (4, 3)), zorder=1)
    ax.annotate(
        f"−{look.saving:.1%} of {look.base}", (place, 1), xycoords=("data", "axes fraction"), xytext=(4, -2),
        textcoords="offset points", va="top", fontsize=8.5, color=FLOOR,
    )  # fmt: skip
    stated = f"the saving that {look.published or name}'s paper states"
    return f" Dashed: {look.saving:.1%} less than {look.base}, decoder included: {stated}."


def key_file(name: str) -> str:
    """The name of the image file with a method's marker, safe as a file name whatever the method is called."""
    return f"mark-{safe(name)}.svg"


def key(look: Style, folder: Path, name: str) -> str:
    """Write a method's marker as a small SVG file for tables; returns the name of the file."""
    with mpl.rc_context(RC):
        fig = Drawing(figsize=(0.25, 0.25))
        ax = fig.add_axes((0, 0, 1, 1))
        ax.axis("off")
        ax.plot([0], [0], look.mark, color=look.colour, ms=9, mec="white", mew=0.6)
        file = key_file(name)
        fig.savefig(folder / file, transparent=True, metadata={"Date": None})
    return file


def _counted(rows: pd.DataFrame, standing: str, looks: Mapping[str, Style]) -> str:
    """How many settings of each method have this standing (on or off the frontier, or undecided), in words."""
    found = rows[rows["standing"] == standing].groupby("method").size().sort_values(ascending=False)
    return ", ".join(f"{looks[str(name)].label} ({count})" for name, count in found.items()) or "none"


def _bars(ax: Axes, rows: pd.DataFrame, x: str, y: str, looks: Mapping[str, Style]) -> None:
    """Draw the 95 % interval of y as a thin line at each point. Methods with more than ``MANY`` points get none."""
    for name, own in rows.groupby("method"):
        if len(own) <= MANY:
            ax.vlines(own[x], own[y + LOW], own[y + HIGH], color=looks[str(name)].colour, lw=0.8, alpha=0.6, zorder=3)


def _axes() -> tuple[Drawing, Axes]:
    with mpl.rc_context(RC):
        fig = Drawing(figsize=(WIDTH, HEIGHT), layout="constrained")
        FigureCanvasAgg(fig)
        return fig, fig.add_subplot()


def present(looks: Mapping[str, Style], rows: pd.DataFrame) -> list[str]:
    """The names of the methods in these rows, in the order of ``looks``."""
    found = set(rows["method"])
    return [name for name in looks if name in found]


def _fixed(rows: pd.DataFrame) -> "pd.Series[bool]":
    """For each row, whether all images took the same number of steps."""
    return ~(rows["steps_std"].fillna(0) > 0)


def _curve(own: pd.DataFrame, x: str, y: str, ends: tuple[Any, Any]) -> pd.Index:
    """The rows on a method's curve, in the order of the curve. ends: whether low or high x and y are good."""
    fixed = own[_fixed(own)]
    if "knob:steps" in own and fixed["knob:steps"].nunique() > 1:
        best = fixed.groupby("knob:steps")[y]
        return pd.Index((best.idxmin() if ends[1] == "low" else best.idxmax()).to_list())
    return own[frontier(own[x], own[y], ends)].sort_values(x).index


def _marks(ax: Axes, rows: pd.DataFrame, x: str, y: str, look: Style, *, size: float, alpha: float) -> None:
    fixed = _fixed(rows)
    for part, filled in ((rows[fixed], True), (rows[~fixed], False)):
        ax.plot(
            part[x], part[y], look.mark, ms=size if filled else 6.5, alpha=alpha if filled else 1.0, zorder=4,
            rasterized=len(part) > MANY,
            mfc=look.colour if filled else "white", mec="white" if filled else look.colour, mew=0.6 if filled else 1.4,
        )  # fmt: skip


def _levels(ax: Axes, lines: Mapping[str, float]) -> None:
    for (label, level), dash in zip(lines.items(), itertools.cycle([(0, (5, 3)), (0, (1, 2)), (0, (5, 2, 1, 2))])):
        ax.axhline(level, color=FLOOR, lw=1.1, ls=dash, zorder=1, label=f"{_plain(label)} {figure(level)}")


def _scale(ax: Axes, axis: str, values: pd.Series) -> None:
    """Make an axis logarithmic, with ticks at round numbers in plain digits.

    The axis stays linear if its values span less than a factor of NARROW, or if a value is not above 0.
    """
    finite = values[np.isfinite(values)]
    if finite.min() <= 0 or finite.max() / finite.min() < NARROW:
        return
    getattr(ax, f"set_{axis}scale")("log")
    ticks = getattr(ax, f"{axis}axis")
    span = finite.max() / finite.min()
    ticks.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7) if span < 15 else (1, 2, 5) if span < 300 else (1,)))
    ticks.set_major_formatter(FuncFormatter(lambda value, _: figure(float(value), 2)))
    ticks.set_minor_locator(NullLocator())


def _whole_ticks(ax: Axes, steps: pd.Series) -> None:
    """Put ticks at the numbers of steps that were measured, but leave out a tick that would run into the one before."""
    kept: list[float] = []
    for value in sorted(set(steps.round())):
        if not kept or value / kept[-1] > 1.25:
            kept.append(value)
    ax.xaxis.set_major_locator(FixedLocator(kept))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: figure(float(value))))
    ax.xaxis.set_minor_locator(NullLocator())


def _hint(measure: Figure) -> str:
    return {"low": " (lower is better)", "high": " (higher is better)", None: ""}[measure.better]


def _label(ax: Axes, x: Figure, y: Figure) -> None:
    ax.set_xlabel(f"{x.heading}{_hint(x)}")
    ax.set_ylabel(f"{y.heading}{_hint(y)}")


def _legend(fig: Drawing, looks: Iterable[Style], *, frontier_line: bool) -> None:
    handles = [
        Line2D([], [], color=look.colour, marker=look.mark, mec="white", mew=0.6, ms=6.5, lw=1.6, label=look.label)
        for look in looks
    ]
    if frontier_line:
        handles.append(Line2D([], [], color=PALE, alpha=0.35, lw=5, label="frontier"))
    handles += [line for line in fig.axes[0].get_lines() if not str(line.get_label()).startswith("_")]
    with mpl.rc_context(RC):
        fig.legend(handles=handles, loc="outside lower center", ncols=3, handlelength=1.8, columnspacing=1.0)


def _save(fig: Drawing, folder: Path, name: str, title: str, caption: str) -> Drawn:
    with mpl.rc_context(RC):
        fig.draw_without_rendering()
        fig.set_layout_engine("none")  # the layout is done: finding it again for each file would take as long again
        fig.savefig(folder / f"{name}.svg", dpi=DPI, metadata={"Date": None})
        fig.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
        fig.savefig(folder / f"{name}.pdf", dpi=DPI, metadata={"CreationDate": None})
    return Drawn(f"{name}.svg", f"{name}.png", f"{name}.pdf", title, caption, f"{title}. {caption}")


def _plain(text: str) -> str:
    """The text, escaped for matplotlib: a "$" does not start a formula, and a leading "_" does not hide the label."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")
