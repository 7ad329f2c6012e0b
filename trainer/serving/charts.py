"""Charts as inline SVG, each with a title and a description for those who do not see it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from markupsafe import Markup, escape

from trainer.serving.history import Series
from trainer.serving.schemas import Event

_WIDTH = 720
_LANE = 30
_LABEL = 110


@dataclass
class _Svg:
    """A drawing in user units; everything that is text is escaped."""

    width: int
    height: int
    parts: list[Markup] = field(default_factory=list)

    def add(self, name: str, text: object = None, **attributes: object) -> None:
        written = Markup("").join(
            Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _short(value))
            for key, value in attributes.items()
        )
        inside = Markup("") if text is None else escape(text)
        self.parts.append(Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inside))

    def finish(self, identifier: str, title: str, description: str) -> Markup:
        return Markup(
            '<svg viewBox="0 0 {w} {h}" role="img" aria-labelledby="{i}-title {i}-desc">'
            '<title id="{i}-title">{title}</title><desc id="{i}-desc">{desc}</desc>{body}</svg>'
        ).format(
            w=self.width,
            h=self.height,
            i=identifier,
            title=title,
            desc=description,
            body=Markup("").join(self.parts),
        )


def _short(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def distribution(shares: Mapping[str, float]) -> Markup:
    """Bars, one a state, in the order given."""
    drawing = _Svg(_WIDTH, _LANE * len(shares))
    begin = _LABEL + 50  # after the value: where the screen is narrow, bars are cut, and no number
    longest = _WIDTH - begin
    highest = max(shares.values())
    for place, (name, share) in enumerate(shares.items()):
        top, middle = place * _LANE + 4, place * _LANE + 20
        drawing.add("text", _clipped(name, 15), x=_LABEL - 8, y=middle, class_="label end")
        drawing.add("text", f"{share:.3f}", x=_LABEL + 4, y=middle, class_="value")
        drawing.add("rect", x=begin, y=top, width=longest, height=_LANE - 8, class_="track")
        kind = "bar top" if share == highest else "bar"
        width = float(longest * share)
        drawing.add("rect", x=begin, y=top, width=width, height=_LANE - 8, class_=kind)
    said = ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
    return drawing.finish("next", "Probability of each next state", said)


def timeline(events: Sequence[Event], actions: Sequence[str], now: datetime) -> Markup:
    """One lane an action, one mark an event; time runs to the right, up to `now`."""
    first = min(event.event_timestamp for event in events)
    last = max(now, max(event.event_timestamp for event in events))
    seconds = max((last - first).total_seconds(), 1.0)
    lanes = [action for action in actions if any(e.action_type == action for e in events)]
    lanes += sorted({e.action_type for e in events} - set(lanes))
    drawing = _Svg(_WIDTH, _LANE * len(lanes) + 34)
    left, right = _LABEL, _WIDTH - 16
    bottom = _LANE * len(lanes) + 4

    def across(at: datetime) -> float:
        return left + (right - left) * (at - first).total_seconds() / seconds

    for place, action in enumerate(lanes):
        middle = place * _LANE + 18
        drawing.add("text", _clipped(action, 15), x=_LABEL - 12, y=middle + 4, class_="label end")
        drawing.add("line", x1=left, x2=right, y1=middle, y2=middle, class_="lane")
    for event in events:
        middle = lanes.index(event.action_type) * _LANE + 18
        drawing.add("circle", cx=across(event.event_timestamp), cy=middle, r=5, class_="mark")
    _time_axis(drawing, first, last, left, right, bottom)
    counted = ", ".join(f"{sum(e.action_type == a for e in events)} {a}" for a in lanes)
    said = f"{len(events)} events from {_minute(first)} to {_minute(events[-1].event_timestamp)}"
    return drawing.finish("timeline", "Last events over time", f"{said}: {counted}.")


def series(line: Series, identifier: str) -> Markup:
    """A step line over time, from 0 or the lowest value to the highest."""
    drawing = _Svg(340, 120)
    left, right, top, bottom = 44, 330, 12, 90
    known = [value for value in line.values if value is not None]
    instants = [instant.item().replace(tzinfo=UTC) for instant in line.instants]
    title = line.feature.name
    if not known:
        drawing.add("text", "no value in this span", x=left, y=55, class_="label")
        return drawing.finish(identifier, title, "No value in this span.")
    low, high = min(0.0, *known), max(*known, 0.0)
    height = (high - low) or 1.0

    def across(place: int) -> float:
        return left + (right - left) * place / (len(instants) - 1)

    def up(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / height

    for level in (low, high) if high > low else (low,):
        drawing.add("line", x1=left, x2=right, y1=up(level), y2=up(level), class_="lane")
        drawing.add("text", number(level), x=left - 6, y=up(level) + 4, class_="label end")
    path, drawn = [], False
    for place, value in enumerate(line.values):
        if value is None:
            drawn = False
            continue
        # A value holds until the next one: a step, and no slope between them.
        path.append(f"{'H' if drawn else 'M'}{across(place):.1f}" + ("" if drawn else " "))
        path.append(f"V{up(value):.1f}" if drawn else f"{up(value):.1f}")
        drawn = True
    drawing.add("path", d="".join(path), class_="steps")
    for place, anchor in ((0, "start"), (len(instants) - 1, "end")):
        kind = "label end" if anchor == "end" else "label"
        drawing.add("text", f"{instants[place]:%Y-%m-%d}", x=across(place), y=110, class_=kind)
    peak = line.values.index(max(known))
    said = (
        f"{number(known[-1])} at the end, highest {number(max(known))} at "
        f"{_minute(instants[peak])}, lowest {number(min(known))}."
    )
    return drawing.finish(identifier, title, said)


def number(value: float) -> str:
    """A value in few characters: 1.2M, 340, 0.25."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{value:.0f}" if value == int(value) else f"{value:.3g}"


def _time_axis(
    drawing: _Svg, first: datetime, last: datetime, left: int, right: int, bottom: int
) -> None:
    days = (last - first).total_seconds() / 86_400
    form = "%Y-%m-%d" if days > 4 else "%m-%d %H:%M"
    shares = np.linspace(0, 1, 5)
    texts = [f"{first + (last - first) * float(share):{form}}" for share in shares]
    for (share, text), before in zip(
        zip(shares, texts, strict=True), itertools.chain([None], texts), strict=False
    ):
        at = left + (right - left) * float(share)
        drawing.add("line", x1=at, x2=at, y1=bottom - 4, y2=bottom + 2, class_="tick")
        if text != before:
            side = "label" if share == 0 else ("label end" if share == 1 else "label middle")
            drawing.add("text", text, x=at, y=bottom + 18, class_=side)


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
