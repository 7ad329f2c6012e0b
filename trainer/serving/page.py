"""The page at ``/``: look a user up, and see what is known, what comes next, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from feature_repo.errors import BadInput
from trainer.models.served import Served
from trainer.prediction import Predictor
from trainer.serving import charts
from trainer.serving.context import Serving
from trainer.serving.history import measures, read_history
from trainer.serving.reasons import Reason, parts_by_source, without_events, without_groups
from trainer.serving.schemas import Event, Problem, User, read_instant
from trainer.serving.users import OTHER, read_user
from trainer.serving.workers import Overloaded
from trainer.waits import show_wait

SPANS = (1, 7, 30, 90, 365)
_EVENTS_EXPLAINED = 10
_SECURITY = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
}
Text = Annotated[str, Query(max_length=1024)]

router = APIRouter(
    tags=["page"],
    responses={
        401: {"model": Problem, "description": "The token is missing or wrong."},
        404: {"description": "The page, where the store does not know the user."},
        422: {"description": "The page, where the question is no question."},
        429: {"model": Problem, "description": "Too many requests; Retry-After says when."},
        503: {"description": "The page, where there is no answer now."},
    },
)
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["number"] = charts.number


def render(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page from its template; nothing that it loads lies elsewhere."""
    return HTMLResponse(_templates.get_template(name).render(**values), status, _SECURITY)


@dataclass(frozen=True)
class Question:
    """What was asked of the page, as it was written."""

    user: str
    at: str
    feature: str
    days: str

    def instant(self) -> np.datetime64 | None:
        """The instant to answer for; ``None`` is now."""
        if not self.at.strip():
            return None
        try:
            return read_instant(self.at)
        except ValueError as error:
            raise BadInput(f"At: {str(error).removeprefix('at: ')}") from None

    def span(self) -> int:
        """Days of the charts over time."""
        if self.days not in map(str, SPANS):
            raise BadInput(f"Span: choose one of {', '.join(map(str, SPANS))} days")
        return int(self.days)


@router.get("/", response_class=HTMLResponse)
async def look_up(
    serving: Serving, user: Text = "", at: Text = "", feature: Text = "", days: Text = "30"
) -> HTMLResponse:
    """Look a user up in a browser. An invalid question is answered by a page that says so."""
    question = Question(user, at, feature, days)
    predictor = serving.model.predictor
    choices = measures(predictor.published)
    shown: dict[str, Any] = {
        "question": question,
        "measures": list(choices),
        "spans": SPANS,
        "run": predictor.run.name,
    }
    try:
        instant, span = question.instant(), question.span()
        if feature and feature not in choices:
            raise BadInput("Feature: choose one of the list")
    except BadInput as error:
        return render("look_up.html", 422, **shown, problem=str(error), answer=None)
    if not user:
        return render("look_up.html", **shown, problem=None, answer=None)
    workers = serving.online if instant is None else serving.offline
    try:
        answer = await workers.run(_answer, predictor, user, instant)
        lines = await serving.offline.run(
            _history, predictor, user, feature or next(iter(choices), ""), answer, span
        )
    except (BadInput, Overloaded) as error:
        problem = " ".join(str(error).split()) or "Too many requests wait; try again."
        return render("look_up.html", 503, **shown, problem=problem, answer=None)
    status = 200 if answer["user"].known else 404
    return render("look_up.html", status, **shown, problem=None, answer=answer, lines=lines)


def _answer(predictor: Predictor, user: str, instant: np.datetime64 | None) -> dict[str, Any]:
    """Everything but the history, as the template reads it."""
    known, examples = read_user(predictor, user, instant)
    run, model = predictor.run, predictor.run.model
    (prediction,) = predictor.answer(examples)
    shares = prediction.next_action
    top = max(shares, key=lambda state: shares[state])
    now = examples.instants[0].astype("datetime64[us]").item().replace(tzinfo=UTC)
    answer: dict[str, Any] = {
        "user": known,
        "store": "online" if instant is None else "offline",
        "now": now,
        "shares": shares,
        "top": top,
        "distribution": charts.distribution(shares),
        "conversion": prediction.conversion,
        "waits": {name: show_wait(each) for name, each in prediction.next_time.items()},
        "table": feature_table(known),
        "model": model.name,
        "explained": False,
    }
    if known.known:
        answer["timeline"] = charts.timeline(known.events, run.states, now)
    if known.known and isinstance(model, Served) and model.predicts_next_action:
        place = model.states.index(top)
        answer["explained"] = True
        answer["parts"] = [
            {"source": source, "logit": float(logits[place])}
            for source, logits in parts_by_source(model, examples).items()
        ]
        answer["events_explained"] = [
            {"event": _event(known.events, reason), **_effect(reason, place, shares[top])}
            for reason in without_events(model, examples, _EVENTS_EXPLAINED)
        ]
        answer["groups_explained"] = [
            {"group": reason.group, **_effect(reason, place, shares[top])}
            for reason in ([] if answer["parts"] else without_groups(model, examples))
        ]
    return answer


def _event(events: list[Event], reason: Reason) -> Event:
    assert reason.place is not None
    return events[reason.place]


def _effect(reason: Reason, place: int, before: float) -> dict[str, float]:
    after = float(reason.probabilities[place])
    return {"before": before, "after": after, "change": after - before}


def _history(
    predictor: Predictor, user: str, measure: str, answer: Mapping[str, Any], span: int
) -> dict[str, Any]:
    features = measures(predictor.published).get(measure, ())
    if not features or not answer["user"].known:
        return {"measure": measure, "charts": []}
    end: datetime = answer["now"]
    found = read_history(
        predictor,
        user,
        features,
        np.datetime64(end.replace(tzinfo=None), "us"),
        np.timedelta64(span, "D"),
    )
    drawn = [
        {
            "scale": line.feature.scale,
            "name": line.feature.name,
            "chart": charts.series(line, f"series-{line.feature.scale}"),
        }
        for line in found
    ]
    return {"measure": measure, "charts": drawn}


def feature_table(user: User) -> dict[str, Any]:
    """Numbers with a row a measure and a column a scale; and what has no scale, by name."""
    scales = [scale for scale in user.features if scale != OTHER]
    rows: dict[str, dict[str, Any]] = {}
    for scale in scales:
        for name, value in user.features[scale].items():
            if not isinstance(value, list):
                rows.setdefault(name.removesuffix(f"_{scale}"), {})[scale] = value
    return {"scales": scales, "rows": rows, "other": user.features.get(OTHER, {})}
