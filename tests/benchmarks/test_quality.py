"""The table of quality is made of what compare.json holds, and says who was better."""

from benchmarks.quality import Asked, aims, rows

METRICS = {
    "marginal": {"next_action": {"log_loss": 0.9}, "conversion_7d": {"average_precision": 0.2}},
    "markov_1": {"next_action": {"log_loss": 0.8}, "next_item": {"mrr_20": 0.1}},
    "item_mixture": {"next_item": {"mrr_20": 0.3}, "next_action": {"log_loss": None}},
    "lstm": {
        "next_action": {
            "rows": 10.0,
            "log_loss": 0.85,
            "log_loss_low": 0.8,
            "log_loss_high": 0.9,
            "ece": 0.05,
        },
        "next_action.cold_users": {"log_loss": 0.1},
        "next_item": {"mrr_20": 0.4},
        "conversion_7d": {"average_precision": 0.25, "log_loss": 0.3, "ece": 0.01},
    },
}


def test_each_task_is_judged_by_its_figures_against_the_best_baseline() -> None:
    found = {(row["task"], row["metric"]): row for row in rows("purchase_cards", METRICS)}
    assert list(found) == [
        ("conversion_7d", "average_precision"),
        ("conversion_7d", "log_loss"),
        ("next_action", "log_loss"),
        ("next_item", "mrr_20"),
    ]
    # Less is better of one, more of the other.
    action, item = found["next_action", "log_loss"], found["next_item", "mrr_20"]
    assert (action["which"], action["best baseline"]) == ("markov_1", 0.8)
    assert (item["which"], item["best baseline"]) == ("item_mixture", 0.3)
    assert action["95 %"] == "0.800 to 0.900"
    assert (action["to beat"], item["to beat"]) == (0.616, 0.377)
    assert found["conversion_7d", "log_loss"]["best baseline"] is None


def test_aims_are_met_or_not_by_the_figure() -> None:
    (action,) = (r for r in rows("purchase_cards", METRICS) if r["task"] == "next_action")
    loss, calibration = aims(action)
    assert (loss.figure, loss.limit, loss.met) == (0.85, 0.616, False)
    assert (calibration.figure, calibration.limit, calibration.met) == (0.05, 0.03, False)
    (item,) = (r for r in rows("purchase_cards", METRICS) if r["task"] == "next_item")
    (reached,) = aims(item)
    assert (reached.at_most, reached.met) == (False, True)


def test_better_is_by_the_metric() -> None:
    assert Asked("t", "log_loss", at_most=True).better(0.1, 0.2)
    assert not Asked("t", "mrr_20").better(0.1, 0.2)
