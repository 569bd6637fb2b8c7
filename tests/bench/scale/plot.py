"""The plot of an allowlist's cost by its length: small multiples, for light and dark pages alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INK = "#7d8590"  # reads on white and on black
COLOURS = ("#2da44e", "#d29922", "#539bf5", "#db61a2")
MARKERS = ("o", "s", "D", "v")


@dataclass(frozen=True)
class Panel:
    """`lines` by who it is of: the value by the number of CIDRs; what is missing was too slow, or too small to tell."""

    title: str
    unit: str
    lines: Mapping[str, Mapping[int, float]]
    over: Mapping[str, Mapping[int, float]]
    """Where somebody was not waited for any longer, and the limit."""


def draw(panels: Sequence[Panel], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    # Text as text, and the same file from the same figures.
    mpl.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "hostguard", "font.family": "sans-serif", "font.size": 10,
        "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "axes.titlecolor": INK,
        "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False,
    })  # fmt: skip
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure, axes = pyplot.subplots(2, 2, figsize=(8.4, 6.4), layout="constrained", sharex="all")
    plain = FuncFormatter(lambda value, _: f"{value:,.10g}")
    for at, panel in zip(axes.flat, panels, strict=True):
        for colour, marker, name in zip(COLOURS, MARKERS, panel.lines, strict=True):
            points = sorted(panel.lines[name].items())
            at.plot([x for x, _ in points], [y for _, y in points], color=colour, marker=marker, ms=5, lw=1.8,
                    label=name)  # fmt: skip
            for x, limit in panel.over.get(name, {}).items():
                at.plot([x], [limit], color=colour, marker="^", ms=9, mfc="none", ls="none")
                at.annotate(f"over {limit:g} s", (x, limit), (-9, 0), textcoords="offset points", color=colour,
                            ha="right", va="center", fontsize=8)  # fmt: skip
        at.set(xscale="log", yscale="log", xlabel="CIDRs", ylabel=panel.unit)
        at.set_title(panel.title, loc="left", fontsize=11)
        at.xaxis.set_major_formatter(plain)
        at.tick_params(labelbottom=True)
        at.yaxis.set_major_formatter(plain)
        at.yaxis.set_minor_formatter(NullFormatter())
        at.grid(color=INK, alpha=0.25, lw=0.6)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figure.savefig(path, transparent=True, metadata={"Date": None})
    pyplot.close(figure)
