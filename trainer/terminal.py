"""What the commands print: steps with their seconds, tables, predictions."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from trainer.waits import show_wait

if TYPE_CHECKING:
    from feature_repo.sync import SyncReport
    from feature_repo.verify import VerifyReport
    from trainer.backtesting import Fold
    from trainer.evaluation import SampleRow
    from trainer.monitoring.monitor import Monitoring
    from trainer.prediction import Prediction
    from trainer.ranking.recommending import Recommendations
    from trainer.reasons import Reasons
    from trainer.shuffling import OrderEffect
    from trainer.similarity import SimilarUsers
    from trainer.streaming.pruning import Pruning

console = Console(highlight=False, soft_wrap=True)
_WAITS = "next_time"
_SHOWN = (("accuracy", 3), ("log_loss", 3), ("macro_recall", 3), ("top_3", 3), ("ece", 3))
_HEADS = {"macro_recall": "recall (macro)", "log_loss": "log-loss", "top_3": "top-3", "ece": "ECE"}


def say(line: str) -> None:
    """Print one line as it is; names in brackets are no markup."""
    console.print(line, markup=False)


def detail(line: str) -> None:
    """Print one line of progress inside a step."""
    console.print(f"    {line}", markup=False, style="dim")


@contextlib.contextmanager
def step(number: int, steps: int, what: str) -> Iterator[None]:
    """Announce a long step, and say how long it took."""
    console.print(f"[{number}/{steps}] {what}", markup=False, style="bold")
    begun = time.perf_counter()
    yield
    console.print(f"      {time.perf_counter() - begun:.1f} s", markup=False, style="dim")


def sync_line(report: SyncReport) -> str:
    """What a sync did, in one line."""
    now = report.instant.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
    aside = ""
    if report.set_aside is not None:
        aside = f"; a damaged store was set aside as {report.set_aside}"
    return (
        f"{report.rows:,} rows ({report.cells:,} values) of {report.views} views written, "
        f"{report.removed:,} rows removed; now = {now} UTC{aside}"
    )


def journal_lines(found: Pruning, removed: bool) -> list[str]:
    """What a journal holds, and what of it the log has as well."""
    lines = sum(file.lines for file in found.files)
    alone = sum(file.only_here for file in found.files)
    spare = sum(file.lines for file in found.spare)
    size = sum(file.size for file in found.spare)
    verb = "were removed" if removed else "can be removed with --prune"
    return [
        f"files: {len(found.files)}, with {lines:,} events; "
        f"the log does not have {alone:,} of them",
        f"files that {verb}, because the log has all of their events: {len(found.spare)} "
        f"({spare:,} events, {size:,} bytes)",
    ]


def verify_lines(report: VerifyReport) -> list[str]:
    """What a comparison of the stores found: the counts, and the first mismatch."""
    now = report.instant.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
    lines = [
        f"{report.cells:,} values of {report.entities:,} rows in {report.views} views compared "
        f"at {now} UTC: {report.mismatches:,} mismatches"
    ]
    if report.ahead:
        lines.append(f"left out: {report.ahead:,} rows that are newer than the published build")
    if report.first is not None:
        lines.append(f"the first: {report.first}")
    return lines


def metrics_table(metrics: dict[str, Any], task: str, title: str, short: bool = False) -> Table:
    """Models down, metrics across.

    Parameters
    ----------
    metrics
        ``{model: {task: {metric: value}}}``
    task
        Which task of them.
    title
        Above the table.
    short
        Only accuracy, log-loss and recall.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("model", no_wrap=True)
    shown = _SHOWN[:3] if short else _SHOWN
    for name, _ in shown:
        table.add_column(_HEADS.get(name, name), justify="right", no_wrap=name == "log_loss")
    for model, tasks in metrics.items():
        values = tasks.get(task)
        if values is None:
            continue
        cells = [_cell(values, name, digits, interval=not short) for name, digits in shown]
        table.add_row(model, *cells)
    if not table.row_count:
        table.caption = "no instant after valid_end has a label yet, so there is nothing to score"
    return table


def _cell(values: dict[str, Any], name: str, digits: int, interval: bool) -> str:
    """A value, with its interval where it has one and log-loss is asked to show it."""
    value = values.get(name)
    if value is None:
        return "-"
    shown = f"{value:.{digits}f}"
    low, high = values.get(f"{name}_low"), values.get(f"{name}_high")
    if interval and name == "log_loss" and low is not None and high is not None:
        ends = (f"{end:.{digits}f}".removeprefix("0") for end in (low, high))
        shown += f" [{', '.join(ends)}]"
    return shown


def slices_table(metrics: dict[str, Any], task: str) -> Table:
    """Log-loss of each model on each slice of the test part, with its rows."""
    metrics = {model: tasks for model, tasks in metrics.items() if task in tasks}
    slices = [name for name in next(iter(metrics.values()), {}) if name.startswith(f"{task}.")]
    table = Table(title="log-loss by slice (rows)", title_justify="left")
    table.add_column("model", no_wrap=True)
    for name in slices:
        rows = next(iter(metrics.values()))[name]["rows"]
        words = name.removeprefix(f"{task}.").replace("_", " ")
        table.add_column(f"{words}\n({rows:,.0f})", justify="right")
    for model, tasks in metrics.items():
        table.add_row(model, *(f"{tasks[name]['log_loss']:.3f}" for name in slices))
    return table


def folds_table(metrics: dict[str, Any], folds: Sequence[Fold]) -> Table:
    """Log-loss of each model at each fold, and over all of them with the folds' spread."""
    from trainer.evaluation import TASK

    table = Table(title="next action: log-loss by fold", title_justify="left")
    table.add_column("learned until\n(test instants)", no_wrap=True)
    shown = [name for name, tasks in metrics.items() if TASK in tasks]
    for name in shown:
        table.add_column(name, justify="right")
    for number, fold in enumerate(folds, start=1):
        task = f"{TASK}.fold_{number}"
        found = [metrics[name].get(task) for name in shown]
        rows = next((values["rows"] for values in found if values is not None), 0)
        until = str(fold.cuts.train_end)[:16].replace("T", " ")
        cells = ["-" if each is None else _cell(each, "log_loss", 3, True) for each in found]
        table.add_row(f"{until} ({rows:,.0f})", *cells)
    table.add_section()
    overall = [metrics[name][TASK] for name in shown]
    table.add_row("all", *(_cell(values, "log_loss", 3, True) for values in overall))
    spreads = [_cell(values, "log_loss_fold_std", 3, False) for values in overall]
    table.add_row("deviation of the folds", *spreads)
    if not shown:
        table.caption = "no fold has a labelled instant to score"
    return table


def order_table(found: dict[str, OrderEffect]) -> Table:
    """Log-loss of each model with the real order and with shuffled ones."""
    table = Table(title="next action: log-loss, test part", title_justify="left")
    table.add_column("model", no_wrap=True)
    for name in ("in order", "shuffled", "change [95 % over users]"):
        table.add_column(name, justify="right")
    for name, effect in found.items():
        change = f"{effect.change:+.4f} [{effect.low:+.4f}, {effect.high:+.4f}]"
        cells = (f"{effect.log_loss:.4f}", f"{effect.shuffled:.4f}", change)
        table.add_row(name.replace("_", " "), *cells)
    one = next(iter(found.values()))
    table.caption = f"{one.rows:,} instants of {one.users:,} users, {one.seeds} shuffles"
    return table


def sample_table(rows: Sequence[SampleRow]) -> Table:
    """Predicted beside actual, by name."""
    table = Table(title="a sample of the test part", title_justify="left")
    for name in ("user", "instant", "state", "predicted", "actual", ""):
        table.add_column(name)
    for row in rows:
        table.add_row(
            row.user,
            row.instant,
            row.state,
            f"{row.predicted} {row.predicted_probability:.2f}",
            f"{row.actual} {row.actual_probability:.2f}",
            "✓" if row.predicted == row.actual else "",
        )
    return table


def prediction_table(prediction: Prediction) -> Table:
    """The distribution of one user's next action, by name."""
    state = "unknown to the store: the prior" if prediction.cold else f"now in {prediction.state}"
    table = Table(
        title=f"user {prediction.user_id} at {prediction.at} ({state})", title_justify="left"
    )
    table.add_column("next action")
    table.add_column("probability", justify="right")
    table.add_column("")
    for name, value in prediction.next_action.items():
        table.add_row(name, f"{value:.3f}", "█" * round(24 * value))
    if prediction.conversion:
        table.add_section()
    for name, value in prediction.conversion.items():
        table.add_row(name.replace("_", " "), f"{value:.3f}", "█" * round(24 * value))
    if prediction.next_time:
        waits = {name: show_wait(seconds) for name, seconds in prediction.next_time.items()}
        table.caption = (
            f"next event in {waits['p50']} (median), with 80 % in {waits['p10']} to {waits['p90']}"
        )
    return table


def other_tasks_tables(metrics: dict[str, Any]) -> list[Table]:
    """The tables of what is said beside the next action: the time to it, item and category.

    Parameters
    ----------
    metrics
        ``{model: {task: {metric: value}}}``
    """
    waits = [waits_table(metrics)] if any(_WAITS in tasks for tasks in metrics.values()) else []
    return [*waits, *ranking_tables(metrics)]


def waits_table(metrics: dict[str, Any]) -> Table:
    """What each model makes of the time to the next event, slices below each other."""
    table = Table(title="time to the next event", title_justify="left")
    for name in ("rows", "model"):
        table.add_column(name, no_wrap=True)
    for name in ("pinball loss", "in the interval of 80 %", "not seen to their end"):
        table.add_column(name, justify="right")
    found = dict.fromkeys(
        name for tasks in metrics.values() for name in tasks if name.partition(".")[0] == _WAITS
    )
    for name in found:
        for model, tasks in metrics.items():
            values = tasks.get(name)
            if values is None:
                continue
            interval = ", ".join(f"{values[f'pinball_{end}']:.3f}" for end in ("low", "high"))
            covered = "-" if values["coverage"] is None else f"{values['coverage']:.3f}"
            table.add_row(
                f"{name} ({values['rows']:,.0f})",
                model,
                f"{values['pinball']:.3f} [{interval}]",
                covered,
                f"{values['censored']:.3f}",
            )
    return table


def track(items: Iterable[Any], total: int, what: str) -> Iterator[Any]:
    """Show a bar while somebody iterates; nothing where nobody watches."""
    if not console.is_terminal:
        yield from items
        return
    with Progress(console=console, transient=True) as progress:
        yield from progress.track(items, total=total, description=what)


def reasons_tables(reasons: Reasons, user: str, events: int) -> list[Table]:
    """What each scale, the user's own transitions and each of the last events say of one state."""
    title = f"user {user}: {reasons.state} next with {reasons.probability:.3f}"
    tables = []
    if reasons.scales:
        table = Table(title=f"{title}, by scale", title_justify="left")
        table.add_column("scale")
        table.add_column("logit", justify="right")
        for name, value in reasons.scales.items():
            table.add_row(name.replace("_", " "), f"{value:+.3f}")
        table.add_row("sum", f"{sum(reasons.scales.values()):+.3f}")
        tables.append(table)
    table = Table(title=f"{title}, by event", title_justify="left")
    table.add_column("event")
    table.add_column("logit", justify="right")
    table.add_column("without it", justify="right")
    for event in reasons.events[:events]:
        name = event.action if event.place else f"{event.action} (last)"
        change = f"{reasons.probability:.3f} → {event.without:.3f}"
        table.add_row(name, f"{event.contribution:+.3f}", change)
    table.caption = f"integrated gradients; what all events together miss: {reasons.gap:+.4f}"
    tables.append(table)
    if reasons.transitions:
        tables.append(_transitions_table(reasons, title))
    return tables


def _transitions_table(reasons: Reasons, title: str) -> Table:
    """What the user did after his current state before."""
    table = Table(title=f"{title}, by own transition", title_justify="left")
    table.add_column("transition")
    for name in ("times", "logit", "without them"):
        table.add_column(name, justify="right")
    for reason in reasons.transitions:
        table.add_row(
            f"{reason.before} → {reason.after}",
            f"{reason.count:,}",
            f"{reason.contribution:+.3f}",
            f"{reasons.probability:.3f} → {reason.without:.3f}",
        )
    change = f"{reasons.probability:.3f} → {reasons.without_own_row:.3f}"
    table.caption = f"with everyone's transitions in place of his own: {change}"
    return table


def ranking_tables(metrics: dict[str, Any]) -> list[Table]:
    """A table for each of the next item and the next category, where a model says it.

    Parameters
    ----------
    metrics
        ``{model: {task: {metric: value}}}``
    """
    tables = []
    for task, what in (("next_item", "next item"), ("next_category", "next category")):
        judged = {model: tasks for model, tasks in metrics.items() if task in tasks}
        if not judged:
            continue
        of = next(iter(judged.values()))[task]
        rows, unknown = int(of["rows"] or 0), int(of["unknown"] or 0)
        table = Table(
            title=f"{what}, test part ({rows:,} rows, {unknown:,} on what nobody had seen)",
            title_justify="left",
        )
        table.add_column("model", no_wrap=True)
        for head in ("HR@10", "NDCG@10", "MRR@20", "by user", "coverage", "trained"):
            table.add_column(head, justify="right", no_wrap=head == "MRR@20")
        for model, tasks in judged.items():
            values, limited = tasks[task], tasks.get(f"{task}.training_catalogue", {})
            table.add_row(
                model,
                _number(values.get("hr_10")),
                _number(values.get("ndcg_10")),
                _with_interval(values, "mrr_20"),
                _number(values.get("user_mrr_20")),
                _number(values.get("coverage_10")),
                _number(limited.get("mrr_20")),
            )
        table.caption = (
            "of all that is known at the instant; trained: MRR@20 of the training part's alone"
        )
        tables.append(table)
    return tables


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _with_interval(values: dict[str, Any], name: str) -> str:
    low, high = values.get(f"{name}_low"), values.get(f"{name}_high")
    shown = _number(values.get(name))
    if low is None or high is None:
        return shown
    ends = (f"{end:.3f}".removeprefix("0") for end in (low, high))
    return f"{shown} [{', '.join(ends)}]"


def recommendations_table(answer: Recommendations) -> Table:
    """The items for one user, with what each scale gave of the score."""
    state = "nothing is known of him: what is popular" if answer.cold else "by what he did"
    table = Table(title=f"user {answer.user_id} at {answer.at} ({state})", title_justify="left")
    table.add_column("item")
    for head in ("score", "just now", "this week", "long taste"):
        table.add_column(head, justify="right")
    table.add_column("mostly")
    table.add_column("had it")
    for item in answer.items:
        table.add_row(
            item.item_id,
            f"{item.score:.4f}",
            *(f"{value:.4f}" for value in item.reasons.values()),
            max(item.parts, key=item.parts.__getitem__).replace("_", " ") if item.parts else "",
            "yes" if item.seen else "",
        )
    if not answer.items:
        table.caption = "no item of the catalogue is left at this instant"
    return table


def similar_table(answer: SimilarUsers) -> Table:
    """The nearest users first."""
    table = Table(title=f"most like user {answer.user_id} at {answer.at}", title_justify="left")
    table.add_column("user")
    table.add_column("cosine", justify="right")
    table.add_column("events", justify="right")
    for user in answer.users:
        table.add_row(user.user_id, f"{user.cosine:.3f}", f"{user.events:,}")
    return table


def monitor_table(found: Monitoring) -> Table:
    """Periods down: the farthest column, how well the next action was told, the shares."""
    before = found.reference["performance"].get("next_action")
    reference = "" if before is None else f" ({before['log_loss']:.3f} in validation)"
    table = Table(
        title=f"{found.run}: since training{reference}",
        title_justify="left",
    )
    table.add_column("until", no_wrap=True)
    for name in ("users", "PSI", "JSD", "log-loss", "cold", "unknown", "alarms"):
        table.add_column(name, justify="right", no_wrap=True)
    for period in found.periods:
        farthest = max(period.moved, key=lambda each: each.js, default=None)
        told = period.performance.get("next_action")
        table.add_row(
            period.end[:10],
            f"{period.users:,}",
            "–" if farthest is None else f"{farthest.psi:.3f}",
            "–" if farthest is None else f"{farthest.js:.3f}",
            "–" if told is None else f"{told.log_loss:.3f}",
            "–" if period.cold is None else f"{period.cold:.1%}",
            "–" if period.unknown is None else f"{period.unknown:.2%}",
            str(len(period.alarms)) if period.judged else "few users",
        )
    return table


def alarm_lines(found: Monitoring, most: int = 12) -> list[str]:
    """The alarms, each in a line, the farthest beyond its threshold first."""
    alarms = sorted(found.alarms, key=lambda pair: -pair[1].value / max(pair[1].threshold, 1e-9))
    lines = [
        f"alarm until {period.end[:16]}: {alarm.figure}{' of ' * bool(alarm.of)}{alarm.of} is "
        f"{alarm.value:.3f}, more than {alarm.threshold:.3f}"
        for period, alarm in alarms[:most]
    ]
    more = len(alarms) - len(lines)
    if more > 0:
        lines.append(f"and {more} more, in the report")
    moved = found.periods[-1].moved
    if moved:
        farthest = max(moved, key=lambda each: each.js)
        lines.append(f"farthest in the last period: {farthest.column} ({farthest.group})")
    return lines
