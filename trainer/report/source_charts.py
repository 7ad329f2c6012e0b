"""The charts of a model's sources: what each is worth, and what each says of one prediction."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from trainer.ablation import SourceWorth
from trainer.context import PRIOR, SEQUENCE
from trainer.features import scale_order
from trainer.reasons import Reasons
from trainer.report.pictures import (
    AGAINST,
    COLOURS,
    FOR,
    MUTED,
    Picture,
    clipped,
    figure,
    picture,
    rows_from_top,
    signed,
    style,
)

_NOTHING = 0.05  # contributions that are all smaller are drawn as small as they are


def source_chart(found: Sequence[SourceWorth], weight: str) -> Picture:
    """Weight of each source beside the log-loss without it.

    Parameters
    ----------
    found
        From top to bottom.
    weight
        What the weights are; empty where there are none.
    """
    names = [source_name(each.source) for each in found]
    with style():
        drawn, panels = figure(9.0, 1.1 + 0.32 * len(found), 2 if weight else 1)
        if weight:
            sizes = [each.weight or 0.0 for each in found]
            bars = panels[0].barh(range(len(found)), sizes, color=COLOURS[4], height=0.6)
            texts = ["–" if each.weight is None else f"{each.weight:.3f}" for each in found]
            panels[0].bar_label(bars, texts, padding=4, fontsize=9)
            panels[0].margins(x=0.18)
            rows_from_top(panels[0], names)
            panels[0].set_xlabel(weight)
            panels[0].set_title("Weight")
        axes = panels[-1]
        axes.axvline(0, color=MUTED, lw=1)
        low, high = _reach(found)
        axes.set_xlim(low - 0.06 * (high - low), high + 0.3 * (high - low))
        for place, each in enumerate(found):
            clear = each.low > 0 or each.high < 0
            colour = COLOURS[0] if clear else MUTED
            text = signed(each.change, 4)
            if each.high > high:
                text, end, align = f"{text}, off the chart →", axes.get_xlim()[1], "right"
            else:
                end, align = each.high, "left"
                axes.plot([each.low, each.high], [place] * 2, color=colour, lw=2.2)
                face = colour if clear else "white"
                axes.plot(each.change, place, "o", color=colour, ms=6, mfc=face)
            axes.annotate(
                text,
                (end, place),
                xytext=(-2 if align == "right" else 6, 0),
                textcoords="offset points",
                ha=align,
                va="center",
                fontsize=9,
            )
        rows_from_top(axes, [""] * len(found) if weight else names)
        axes.set_xlabel("change of log-loss (nats), 95 % over users")
        axes.set_title("Without it")
        for panel in panels:
            panel.xaxis.set_major_locator(MaxNLocator(5))
        said = ", ".join(
            f"without {name} {signed(each.change, 4)}"
            for name, each in zip(names, found, strict=True)
        )
        return picture(drawn, f"Change of log-loss on the test part: {said}.")


def _reach(found: Sequence[SourceWorth]) -> tuple[float, float]:
    """Ends of the axis of changes; a source that is worth far more than the rest is off it."""
    low = min([0.0, *(each.low for each in found)])
    high = low + 1e-3
    for end in sorted(each.high for each in found):
        if end > 8 * max(high, 1e-3):
            break
        high = max(high, end)
    return low, high


def reasons_chart(reasons: Reasons, when: Sequence[str], events: int = 10) -> Picture:
    """What speaks for and against one state: by event, and by scale where there are such parts.

    Parameters
    ----------
    reasons
        Of one prediction.
    when
        How long ago each event was, the last one first.
    events
        How many of the last are shown.
    """
    shown = zip(reasons.events[:events], when, strict=False)
    by_event = [(f"{event.action}, {ago}", event.contribution) for event, ago in shown]
    panels = 2 if reasons.scales else 1
    with style():
        tall = max(len(by_event), len(reasons.scales))
        drawn, axes = figure(4.9 * panels, 1.1 + 0.3 * tall, panels)
        _contributions(axes[0], by_event, f"By event: logit of {clipped(reasons.state, 18)}")
        if reasons.scales:
            parts = sorted(reasons.scales.items(), key=lambda part: source_order(part[0]))
            named = [(source_name(name), value) for name, value in parts]
            _contributions(axes[1], named, "By source: parts that sum to it")
        said = ", ".join(f"{name} {value:+.2f}" for name, value in by_event)
        return picture(drawn, f"Contributions to the logit of {reasons.state}: {said}.")


def _contributions(axes: Axes, values: Sequence[tuple[str, float]], title: str) -> None:
    sizes = [size for _, size in values]
    colours = [FOR if size >= 0 else AGAINST for size in sizes]
    bars = axes.barh(range(len(sizes)), sizes, color=colours, height=0.62)
    axes.bar_label(bars, [signed(size, 2) for size in sizes], padding=4, fontsize=8.5)
    axes.axvline(0, color=MUTED, lw=1)
    axes.margins(x=0.22)
    if max(map(abs, sizes), default=0.0) < _NOTHING:
        axes.set_xlim(-_NOTHING, _NOTHING)
    rows_from_top(axes, [name for name, _ in values], 34)
    axes.set_xlabel("contribution (logit)")
    axes.set_title(title)


def source_order(source: str) -> tuple[bool, tuple[int, str]]:
    """What is no scale of features, the scales from short to long, then what has none."""
    return source not in (PRIOR, SEQUENCE), scale_order(source)


def source_name(source: str) -> str:
    """A source of logits as people read it."""
    named = {
        "user_row": "own transitions, as input",
        "user_row:counted": "own transitions, as counted",
        "all": "scale: lifetime",
        "now": "without a scale",
    }
    if source in named:
        return named[source]
    return f"scale: {source}" if source[:1].isdigit() else source
