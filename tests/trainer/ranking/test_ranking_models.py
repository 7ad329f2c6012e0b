"""The models of the next item: laws to find, honest evaluation, nothing of the future."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import synthetic_log as synthetic
from ranking_logs import START, Event, Given, habit_log, hours, table_of

from feature_repo.errors import BadInput
from trainer.config import load_config
from trainer.evaluation import evaluate
from trainer.models.base import Training
from trainer.models.ranking_baseline import RankingBaseline
from trainer.models.registry import RANKS, load_model, make_model
from trainer.ranking import scoring
from trainer.ranking.evaluation import TRAINED, evaluate_ranking, ranked_parts
from trainer.ranking.metrics import all_metrics, ranks
from trainer.ranking.rankers import Scores
from trainer.ranking.rows import RankingRows
from trainer.training import reproducible

Fitted = dict[str, RankingBaseline]


def fit(name: str, training: Training) -> RankingBaseline:
    model = make_model(name, load_config(None), ())  # type: ignore[arg-type]
    with reproducible(0, 1):
        model.fit(training)
    assert isinstance(model, RankingBaseline)
    return model


@pytest.fixture(scope="module")
def fitted(habits: Given) -> Fitted:
    return {name: fit(name, habits[1]) for name in RANKS}


@pytest.fixture(scope="module")
def found(fitted: Fitted, habits: Given) -> dict[str, dict]:
    return evaluate(fitted.values(), habits[0])


def test_each_finds_its_law_and_the_mixture_finds_both(found: dict[str, dict]) -> None:
    # Half the rows follow a favourite, half a circle, each with .8 and a chance of 1/20 beside it.
    # So a favourite is first of its user's own in .4 of all rows, and popularity knows neither law.
    top = {name: tasks["next_item"]["mrr_5"] for name, tasks in found.items()}
    assert top["item_popularity"] < 0.3
    assert top["user_frequency"] > 0.38
    assert top["item_mixture"] > top["user_frequency"] + 0.05
    assert top["item_mixture"] > top["item_transition"] + 0.02
    assert top["item_mixture"] > 0.72  # .81 is what both laws together allow


def test_a_target_is_a_hit_a_miss_or_unknown(found: dict[str, dict], habits: Given) -> None:
    dataset, _ = habits
    rows = dataset.rankings["item"].test
    for tasks in found.values():
        values = tasks["next_item"]
        assert values["rows"] == len(rows)
        assert values["unknown"] == (rows.targets >= rows.known).sum()
        parts = ("seen_users", "cold_users"), ("repeats", "new_to_user")
        for pair in parts:
            there = [tasks.get(f"next_item.{name}", {"rows": 0, "hr_10": 0}) for name in pair]
            assert sum(each["rows"] for each in there) == len(rows)
            hits = sum(each["rows"] * each["hr_10"] for each in there)
            assert hits == pytest.approx(values["rows"] * values["hr_10"])
        assert {"next_category", f"next_item.{TRAINED}", "next_item.valid"} < set(tasks)
        assert "next_action" not in tasks  # of which these models know nothing


def test_every_score_is_a_probability(fitted: Fitted, habits: Given) -> None:
    rows = habits[0].rankings["item"].test.take(np.arange(40))
    for name in ("user_frequency", "item_mixture"):
        for chosen, scores in fitted[name].rankers["item"].scores(rows):
            assert scores.sum(axis=1) == pytest.approx(np.ones(len(chosen))), name


def test_parts_sum_to_the_score(fitted: Fitted, habits: Given) -> None:
    rows = habits[0].rankings["item"].test.take(np.arange(25))
    for name, model in fitted.items():
        ranker = model.rankers["item"]
        own = np.zeros(len(rows))
        for chosen, scores in ranker.scores(rows):
            own[chosen] = scores[np.arange(len(chosen)), rows.targets[chosen]]
        parts = ranker.parts_of_targets(rows)
        assert sum(parts.values()) == pytest.approx(own, abs=1e-12), name


def test_a_model_is_read_as_it_was_written(fitted: Fitted, habits: Given, tmp_path: Path) -> None:
    dataset, _ = habits
    part = ranked_parts(dataset, "valid")[0]
    for name, model in fitted.items():
        model.save(tmp_path)
        again = load_model(name, tmp_path)  # type: ignore[arg-type]
        assert isinstance(again, RankingBaseline)
        assert evaluate_ranking([again], part) == evaluate_ranking([model], part)
        answer = again.predict_proba(dataset.test)
        assert answer == pytest.approx(np.tile(model.prior, (len(dataset.test), 1)))
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}  # text, and nothing to execute


def test_the_batch_changes_no_metric(
    fitted: Fitted, habits: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    (part, _) = ranked_parts(habits[0], "test")
    for model in (fitted["item_mixture"], fitted["v_sknn"]):
        answers = []
        for rows_at_once in (1, 7, 512):
            monkeypatch.setattr(scoring, "_CELLS", rows_at_once * part.rows.log.values)
            answers.append(evaluate_ranking([model], part))
        for other in answers[1:]:
            for task, values in answers[0].items():
                assert other[task] == pytest.approx(values, abs=1e-9), task


class Constant(RankingBaseline):
    """Knows nothing: every value is equally likely."""

    class Ranker:
        def scores(self, rows: RankingRows) -> Scores:
            for chosen in scoring.blocks(rows):
                yield chosen, np.ones((len(chosen), rows.log.values))

    name = "constant"


def test_a_constant_model_gets_exactly_k_of_v(habits: Given) -> None:
    model = Constant({"item": Constant.Ranker()})  # type: ignore[dict-item]
    (part, _) = ranked_parts(habits[0], "test")
    values = evaluate_ranking([model], part)["next_item"]
    known = part.rows.known
    assert set(known.tolist()) == {20}
    for k in (5, 10, 20):
        assert values[f"hr_{k}"] == pytest.approx(k / 20, abs=1e-12)
        assert values[f"hr_{k}_low"] == pytest.approx(k / 20)
        assert values[f"user_hr_{k}"] == pytest.approx(k / 20)
    assert values["mrr_20"] == pytest.approx((1 / np.arange(1, 21)).sum() / 20)


def test_seeds_are_averaged(fitted: Fitted, habits: Given) -> None:
    (part, _) = ranked_parts(habits[0], "test")
    both = [fitted["user_frequency"], fitted["item_transition"]]
    one, other = (evaluate_ranking([model], part)["next_item"] for model in both)
    values = evaluate_ranking(both, part)["next_item"]
    assert values["seeds"] == 2
    assert values["mrr_20"] == pytest.approx((one["mrr_20"] + other["mrr_20"]) / 2)
    spread = abs(one["mrr_20"] - other["mrr_20"]) / np.sqrt(2)
    assert values["mrr_20_seed_std"] == pytest.approx(spread)


def test_a_large_evaluation_is_sampled_evenly_and_says_so(
    fitted: Fitted, habits: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.ranking import evaluation

    rows = habits[0].rankings["item"].test
    monkeypatch.setattr(evaluation, "_MOST_CELLS", 0)
    monkeypatch.setattr(evaluation, "_FEWEST_ROWS", 50)
    (part, _) = ranked_parts(habits[0], "test")
    assert len(part.rows) == 50
    assert part.rows.instants.min() == rows.instants.min()
    assert part.rows.instants.max() == rows.instants.max()
    values = evaluate_ranking([fitted["item_popularity"]], part)["next_item"]
    assert (values["rows"], values["sampled_from"]) == (50, len(rows))


def test_the_training_catalogue_makes_a_new_item_a_miss(
    ranked: Callable[[synthetic.Log], Given],
) -> None:
    log = habit_log(users=6)
    late = START + timedelta(days=13)
    log.users["u00"] += [Event(late + timedelta(hours=h), "a", item="new") for h in range(6)]
    log.users["u00"].sort(key=lambda event: event.at)
    dataset, training = ranked(log)
    model = fit("user_frequency", training)
    tasks = evaluate([model], dataset)["user_frequency"]
    fresh, limited = tasks["next_item"], tasks[f"next_item.{TRAINED}"]
    rows = dataset.rankings["item"].test
    new = rows.log.names[rows.targets] == "new"
    first = new & (rows.targets >= rows.known)
    assert (new.sum(), first.sum()) == (6, 1)
    assert (fresh["unknown"], limited["unknown"]) == (1, 6)
    assert tasks["next_item.unseen"]["rows"] == 6
    assert tasks["next_item.unseen"]["unknown"] == 1
    assert tasks["next_item.unseen"]["hr_20"] == pytest.approx(5 / 6)  # reachable by counting


def test_what_comes_after_train_end_leaves_the_weights_as_they_are(
    habits: Given, ranked: Callable[[synthetic.Log], Given]
) -> None:
    dataset, training = habits
    shortened = ranked(habit_log().until(dataset.cuts.train_end.item()))[1]
    for name in ("item_mixture", "user_frequency"):
        assert fit(name, training).to_json() == fit(name, shortened).to_json(), name


def test_the_same_seed_gives_the_same_gate_and_another_seed_another(habits: Given) -> None:
    one, again = (fit("item_mixture", habits[1]).to_json() for _ in range(2))
    assert one == again
    model = make_model("item_mixture", load_config(None, ["seed=1"]), ())
    with reproducible(1, 1):
        model.fit(habits[1])
    assert model.to_json() != one  # type: ignore[attr-defined]


def test_a_log_without_items_is_refused(habits: Given) -> None:
    with pytest.raises(BadInput, match="map item_id or category_id"):
        fit("user_frequency", replace(habits[1], rankings=()))


def test_neighbours_are_past_sessions_of_the_same_values(
    ranked: Callable[[synthetic.Log], Given],
) -> None:
    from trainer.ranking.neighbours import Sessions, neighbour_entries

    gap = np.timedelta64(30 * 60, "s")
    log = synthetic.Log(
        ("a",),
        {
            "now": [Event(hours(100), "a", item="x"), Event(hours(100.1), "a", item="y")],
            "both": [Event(hours(1 + n / 10), "a", item=i) for n, i in enumerate("xyz")],
            "half": [Event(hours(2), "a", item="y"), Event(hours(2.1), "a", item="w")],
            "later": [Event(hours(100), "a", item="y"), Event(hours(100.2), "a", item="q")],
        },
    )
    table = table_of(log)
    owner = int(np.searchsorted(table.users, "now"))
    rows = RankingRows(
        table,
        np.array([owner]),
        np.array([table.offsets[owner] + 2]),
        np.array([hours(100.1)], dtype="datetime64[us]"),
        np.array([-1]),
    )
    found = neighbour_entries(rows, Sessions(table, gap))
    score = {
        name: found.weights[found.codes == code].sum() for code, name in enumerate(table.names)
    }
    # x is the first of two and weighs 1/2, y weighs 1; the session of `later` has not ended yet.
    both, half = 1.5 / np.sqrt(3), 1.0 / np.sqrt(2)
    assert score == pytest.approx({"x": both, "y": both + half, "z": both, "w": half, "q": 0.0})


def test_ranks_are_those_of_the_whole_catalogue(fitted: Fitted, habits: Given) -> None:
    rows = habits[0].rankings["item"].test.take(np.arange(10))
    for chosen, scores in fitted["item_mixture"].rankers["item"].scores(rows):
        block = rows.take(chosen)
        found = all_metrics(ranks(scores, block.targets, block.known))["mrr_20"]
        for row in range(len(block)):
            order = sorted(scores[row], reverse=True)
            place = order.index(scores[row, block.targets[row]]) + 1
            assert found[row] == pytest.approx(1 / place)
