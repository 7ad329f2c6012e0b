"""The report, the backtest and the shuffle test, as commands on a home."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import numpy as np
import pytest
import synthetic_log as synthetic
import yaml
from typer.testing import CliRunner

from trainer.cli import app
from trainer.labels import read_labels

SMALL = ("encoder.hidden=6", "encoder.layers=1", "epochs=2", "learning_rate=0.01")
SPLIT = {"train_end": "2024-01-18", "valid_end": "2024-01-20"}
SECTIONS = (
    "data",
    "metrics",
    "slices",
    "items",
    "waits",
    "transitions",
    "learning",
    "calibration",
    "scales",
    "users",
)


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def run(path: Path, *arguments: str) -> str:
    command = [*arguments, "--dataset", str(path)]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset file and its home, with a run."""
    folder = tmp_path_factory.mktemp("report")
    log = synthetic.order_two_log(users=20, events=20, seed=3)
    latest = max(log.users, key=lambda user: log.users[user][0].at)
    log.users["<b>&$x$"] = log.users.pop(latest)  # whatever a user is called
    for events in log.users.values():
        for place, event in enumerate(events):  # so that the run says items and categories too
            object.__setattr__(event, "item", f"i{place % 5}")
            object.__setattr__(event, "category", f"c{place % 3}")
    home = synthetic.publish(log, folder / "home", split=SPLIT)
    accounting = {"raw": 600, "accepted": 576, "duplicates": 20, "rejected": {"null_user": 4}}
    (home / "reports" / "accounting.json").write_text(json.dumps(accounting))
    quality = {
        **{"user_count": 20, "late_share": 0.0001, "ties_share": 0.25, "action_mix_drift": None},
        **{"first_event_at": 1704067200.0, "last_event_at": 1706745599.5},
        "lag_seconds": {"p50": 0.0, "p90": 180.0, "p99": 200_000.0, "max": 300_000.0},
        "null_share": {"item_id": 1.0, "user_id": 0.0},
        "action_share": {"a": 0.4, "b": 0.6},
    }
    (home / "reports" / "quality.json").write_text(json.dumps(quality))
    path = folder / "toy.yml"
    columns = {"user_id": "u", "action_type": "a", "event_timestamp": "t"}
    content = {"dataset": "toy", "events_path": "toy.csv", "columns": columns}
    path.write_text(yaml.safe_dump(content | {"actions": ["a", "b"]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALESPACE_HOME", str(home))
        run(path, "apply")
        run(path, "fit", *SMALL, "fusion.kind=additive", "tasks.next_time=0.3")
    return path, home


@pytest.fixture
def ready(made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("SCALESPACE_HOME", str(made[1]))
    return made


@pytest.fixture(scope="module")
def text(made: tuple[Path, Path]) -> str:
    """The report of the run, before there is a backtest."""
    path, home = made
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALESPACE_HOME", str(home))
        assert "reports/report.html" in run(path, "report")
    return (home / "reports" / "report.html").read_text()


def test_the_report_is_one_file_that_needs_nothing(text: str) -> None:
    page = Page(text)
    for tag in ("script", "link", "iframe", "object"):
        assert not page.all(tag)
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "data", "action"):
                assert value is not None
                assert value.startswith(("data:image/svg+xml;base64,", "#"))
    assert "http" not in re.sub(r"http-equiv", "", re.sub(r'src="[^"]*"', "", text))
    assert "url(" not in text
    assert {a["id"] for a in page.all("section")} == set(SECTIONS)
    assert {a["href"] for a in page.all("a")} == {f"#{name}" for name in SECTIONS}
    assert page.all("html")[0]["lang"] == "en"
    pictures = page.all("img")
    # Actions, log-loss, slices, matrix, curve, calibration, sources, and three users' reasons; of
    # items and categories the slices and the scales, and of waits the quantiles and the groups.
    assert len(pictures) == 7 + 3 + 2 * 2 + 2
    alts = [picture["alt"] or "" for picture in pictures]
    assert all(len(alt) > 30 for alt in alts)
    assert len(set(alts)) == len(alts)
    for picture in pictures:
        drawing = base64.b64decode((picture["src"] or "").partition(",")[2]).decode()
        assert ElementTree.fromstring(drawing).tag.endswith("}svg")
        assert "<script" not in drawing


def test_its_figures_are_those_of_the_files(text: str, made: tuple[Path, Path]) -> None:
    _, home = made
    words = " ".join(" ".join(Page(text).words).split())
    metrics = json.loads((home / "models" / "latest" / "metrics.json").read_text())
    for name, tasks in metrics.items():
        values = tasks["next_action"]
        low, high = values["log_loss_low"], values["log_loss_high"]
        interval = f"{values['log_loss']:.3f} [{low:.3f}, {high:.3f}]"
        assert f"{name} {values['accuracy']:.3f} {interval}" in words
    for figure in (
        *("raw 600", "accepted 576", "rejected: null user 4", "2024-01-18 00:00:00 UTC"),
        *("came late under 0.1 %", "instant 25.0 %", "null: item_id 100.0 %", "0 s, 3 min, 2 d"),
        *("first event 2024-01-01 00:00:00 UTC", "last event 2024-01-31 23:59:59 UTC"),
    ):
        assert figure in words
    assert "null: user_id" not in words
    for part in ("additive fusion", "an easy one", "a typical one", "a surprise", "everyone's"):
        assert part in words


def test_items_and_waits_have_the_figures_of_the_files(text: str, made: tuple[Path, Path]) -> None:
    words = " ".join(" ".join(Page(text).words).split())
    metrics = json.loads((made[1] / "models" / "latest" / "metrics.json").read_text())
    for target in ("item", "category"):
        values = metrics["lstm"][f"next_{target}"]
        cells = [values[f"{name}_{k}"] for name in ("hr", "ndcg", "mrr") for k in (5, 10, 20)]
        shown = " ".join(f"{cell:.3f}" for cell in cells)
        interval = f"[{values['mrr_20_low']:.3f}, {values['mrr_20_high']:.3f}]"
        trained = metrics["lstm"][f"next_{target}.training_catalogue"]["mrr_20"]
        coverage = f"{100 * values['coverage_10']:.1f} %"
        row = f"lstm {shown} {interval} {trained:.3f} {coverage} {values['rows']:,.0f}"
        assert f"This run: next {target}" in words and row in words
    assert "5 items known at the end of the test part, 5 of them" in words
    for kind in ("found at once", "found", "hardly found"):
        assert f", {kind} 2024-01-" in words
    for model in ("marginal", "markov_1", "lstm"):
        values = metrics[model]["next_time"]
        interval = f"[{values['pinball_low']:.3f}, {values['pinball_high']:.3f}]"
        coverage = f"{100 * values['coverage']:.1f} %"
        assert f"{model} event instants {values['pinball']:.3f} {interval} {coverage}" in words


def test_only_conversions_are_shown_as_conversions(text: str, made: tuple[Path, Path]) -> None:
    """A run that also says when, on which item and of which category the next event is."""
    metrics = json.loads((made[1] / "models" / "latest" / "metrics.json").read_text())["lstm"]
    assert {"next_time", "next_item", "next_category"} < set(metrics)
    assert "lift" not in text


def test_names_of_users_are_no_markup(text: str, made: tuple[Path, Path]) -> None:
    from trainer.fitting import read_dataset
    from trainer.report.users import shown_users
    from trainer.runs import load_run

    _, home = made
    loaded = load_run(home)
    dataset = read_dataset(home, loaded)
    test = dataset.test
    odd = test.take((test.users == "<b>&$x$") & (test.labels >= 0))
    assert len(odd) > 0
    (first, *_) = shown_users(loaded.recurrent, odd)
    assert first.user == "<b>&$x$"
    assert list(first.chances) == ["a", "b", "leave"]
    assert first.reasons.state == first.actual
    assert len(first.ages) == len(first.reasons.events)
    assert "<b>" not in text


def test_every_target_is_counted_once_as_sql_counts_them(ready: tuple[Path, Path]) -> None:
    """Case P20: rows of the test part = those of seen and of cold users = a count in SQL."""
    _, home = ready
    metrics = json.loads((home / "models" / "latest" / "metrics.json").read_text())
    known = f"""
        from '{home}/labels/spine.parquet' as spine
        join '{home}/labels/label_next.parquet' using (user_id, event_timestamp)
        where next_action is not null and event_timestamp > timestamp '2024-01-20'
    """
    (events,) = duckdb.sql(f"select count(*) {known} and not is_landmark").fetchall()[0]
    (between,) = duckdb.sql(f"select count(*) {known} and is_landmark").fetchall()[0]
    assert events > 50
    for tasks in metrics.values():
        rows = tasks["next_action"]["rows"]
        seen, cold = (
            tasks.get(f"next_action.{part}", {"rows": 0})["rows"]
            for part in ("seen_users", "cold_users")
        )
        assert rows == seen + cold == events
        assert tasks.get("next_action.landmarks", {"rows": 0})["rows"] == between
        hits = tasks["next_action"]["accuracy"] * rows
        assert 0 < hits < rows


def test_the_same_run_is_the_same_report_with_a_backtest_beside_it(
    text: str, ready: tuple[Path, Path]
) -> None:
    path, home = ready
    found = [home / "reports" / name for name in ("backtest.json", "backtest_splits.json")]
    assert "the last trainer backtest" not in text
    run(path, "backtest", "--folds", "1", "model=markov_1")
    run(path, "report")
    again = (home / "reports" / "report.html").read_text()
    begin, end = again.index("<h3>At other moments"), again.index('<section id="slices">')
    assert "all folds" in again[begin:end]
    assert Page(again).all("img") == Page(text).all("img")  # bytes of pictures, too
    for path in found:
        path.unlink()


def test_a_baseline_has_a_report_too(ready: tuple[Path, Path]) -> None:
    path, home = ready
    newest = (home / "models" / "latest").readlink()
    try:
        run(path, "fit", "model=markov_1")
        assert "report.html" in run(path, "report")
        text = (home / "reports" / "report.html").read_text()
        assert "markov_1 is not fitted by epochs" in text
        assert "There is nobody to explain" in text
        assert len(Page(text).all("img")) == 5  # actions, log-loss, slices, matrix, calibration
    finally:
        (home / "models" / "latest").unlink()
        (home / "models" / "latest").symlink_to(newest, target_is_directory=True)


def test_a_run_that_is_not_there_is_refused(ready: tuple[Path, Path]) -> None:
    path, _ = ready
    for command in ("report", "shuffle-test"):
        asked = [command, "--run", "nope", "--dataset", str(path)]
        result = CliRunner().invoke(app, asked)
        assert result.exit_code == 2
        assert "there is no run 'nope'" in result.stderr


# ---- pictures ------------------------------------------------------------------------------------


def test_a_matrix_that_nobody_could_read_is_cut_to_its_most_frequent_states() -> None:
    from trainer.report.charts import transitions

    states = [f"an action with a long name, ${place}$" for place in range(60)]
    counts = np.arange(60)
    matrix = np.full((60, 60), 1 / 60)
    drawn = transitions(matrix, counts, states)
    assert "$30$" in drawn.alt
    assert "$29$ comes" not in drawn.alt.partition("after")[2]
    assert drawn.width < 2100


def test_waits_are_grouped_by_the_predicted_median() -> None:
    from trainer.report.ranking_charts import wait_chart
    from trainer.report.waits import wait_groups
    from trainer.waits import LEVELS

    # 20 rows said to take a minute or so, which took 50 s; 20 said to take an hour, of which the
    # half took 2 h and nothing is known of the others but that 3 h were not enough.
    quantiles = np.repeat([[20.0, 40, 60, 80, 100], [600, 1800, 3600, 7200, 9000]], 20, axis=0)
    waits = np.array([50.0] * 20 + [7200.0] * 10 + [10_800.0] * 10)
    watched = np.array([86_400.0] * 30 + [10_800.0] * 10)
    order = np.random.default_rng(0).permutation(40)
    short, long = wait_groups(quantiles[order], waits[order], watched[order])
    assert (short.rows, long.rows) == (20, 20)
    assert short.predicted.tolist() == [20, 40, 60, 80, 100]
    assert short.happened.tolist() == [50.0] * len(LEVELS)
    assert long.predicted.tolist() == [600, 1800, 3600, 7200, 9000]
    assert long.happened.tolist() == [7200.0, 7200.0, 7200.0, 10_800.0, 10_800.0]
    assert "predicted 1 min, came 50 s; predicted 1 h, came 2 h" in wait_chart([short, long]).alt


def test_numbers_and_ages_are_short() -> None:
    from trainer.report.pictures import signed
    from trainer.report.users import age

    assert [signed(value, 2) for value in (0.123, -0.126, -0.001, 0.0)] == [
        *("+0.12", "-0.13"),
        *("0.00", "0.00"),
    ]
    spans = {0: "now", 5: "5 s ago", 90: "2 min ago", 7_200: "2 h ago", 200_000: "2 d ago"}
    for seconds, shown in spans.items():
        assert age(np.timedelta64(seconds, "s")) == shown


# ---- backtest and shuffle test -------------------------------------------------------------------


def test_the_backtest_rolls_over_the_log(ready: tuple[Path, Path]) -> None:
    path, home = ready
    shown = run(path, "backtest", "--folds", "3", *SMALL)
    written = json.loads((home / "reports" / "backtest.json").read_text())
    folds = json.loads((home / "reports" / "backtest_splits.json").read_text())
    assert list(written) == ["marginal", "markov_1", "lstm"]
    events = read_labels(home / "labels").event_instants
    # Half of the events, then steps of an eighth.
    ends = [str(events[int(np.ceil(len(events) * share / 8)) - 1]) for share in (4, 5, 6, 7, 8)]
    assert [fold["train_end"] for fold in folds] == ends[:3]
    assert [fold["valid_end"] for fold in folds] == ends[1:4]
    assert [fold["test_end"] for fold in folds] == ends[2:5]
    spine = read_labels(home / "labels")
    known = ~np.isnat(spine.next_state_at)
    for name, tasks in written.items():
        assert name in shown
        each = [tasks[f"next_action.fold_{number}"] for number in (1, 2, 3)]
        for values, fold in zip(each, folds, strict=True):
            after, until = (np.datetime64(fold[key]) for key in ("valid_end", "test_end"))
            inside = known & (spine.instants > after) & (spine.instants <= until)
            assert values["rows"] == inside.sum()
        whole = tasks["next_action"]
        assert whole["rows"] == sum(values["rows"] for values in each)
        total = sum(values["rows"] * values["log_loss"] for values in each)
        assert whole["log_loss"] == pytest.approx(total / whole["rows"])
        losses = [values["log_loss"] for values in each]
        assert whole["folds"] == 3
        assert whole["log_loss_fold_std"] == pytest.approx(np.std(losses, ddof=1))
        assert (whole["log_loss_fold_min"], whole["log_loss_fold_max"]) == (
            min(losses),
            max(losses),
        )
    assert "deviation of the folds" in shown


def test_more_folds_than_instants_are_refused(tmp_path: Path) -> None:
    from feature_repo.errors import BadInput
    from trainer.backtesting import make_folds
    from trainer.dataset import Taxonomy

    log = synthetic.Log(("a",), {"u": [synthetic.Event(datetime(2024, 1, 1), "a")] * 3})
    labels = read_labels(synthetic.publish(log, tmp_path) / "labels")
    zero = np.timedelta64(0, "us")
    with pytest.raises(BadInput, match="too few instants"):
        make_folds(labels, Taxonomy("toy", ("a",), zero, zero), 2)


def test_the_shuffle_test_answers_in_one_sentence(ready: tuple[Path, Path]) -> None:
    path, home = ready
    shown = run(path, "shuffle-test", "--seeds", "2")
    written = json.loads((home / "reports" / "shuffle_test.json").read_text())
    assert list(written) == ["lstm", "events_alone"]
    metrics = json.loads((home / "models" / "latest" / "metrics.json").read_text())
    found = written["lstm"]
    assert found["log_loss"] == pytest.approx(metrics["lstm"]["next_action"]["log_loss"], abs=1e-6)
    assert found["rows"] == metrics["lstm"]["next_action"]["rows"]
    assert found["seeds"] == 2
    for effect in written.values():
        assert effect["low"] <= effect["change"] <= effect["high"]
    for said in ("rder matters on this log", "Beside its features, lstm reads"):
        assert len([line for line in shown.splitlines() if said in line]) == 1
