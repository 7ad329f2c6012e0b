"""``demo``: the whole path on one dataset, with a line for each step."""

from __future__ import annotations

from pathlib import Path

from trainer import terminal
from trainer.build import accounting_line, build
from trainer.config import FitConfig
from trainer.terminal import console, detail, metrics_table, say, step, sync_line

_STEPS = 6


def demo(dataset_path: str, home: Path, config: FitConfig) -> None:
    """Build, register, load, fit, evaluate, predict, and say where everything lies.

    Parameters
    ----------
    dataset_path
        The dataset file.
    home
        Home of the run.
    config
        What to fit.
    """
    with step(1, _STEPS, f"build the features of {dataset_path} with dbt"):
        detail(accounting_line(build(dataset_path, home, detail)))
    with step(2, _STEPS, "register them in Feast"):
        from feature_repo.store import apply

        store = apply(home)
        views = store.list_feature_views()
        detail(f"{len(views)} feature views, {sum(len(v.features) for v in views)} features")
    with step(3, _STEPS, "load the online store"):
        from feature_repo.sync import sync
        from trainer.instants import show_instant, to_datetime
        from trainer.prediction import log_end

        end = log_end(home)
        detail(
            "today every window of an old log is empty, so now = the end of the log, "
            + show_instant(end)
        )
        loaded = sync(home, to_datetime(end))
        detail(sync_line(loaded))
    what = config.encoder.cell.upper() if config.model == "recurrent" else config.model
    with step(4, _STEPS, f"fit the {what} and its baselines"):
        from trainer.fitting import fit

        folder = fit(home, config, detail)
    with step(5, _STEPS, "evaluate them on the test part"):
        from trainer.evaluation import TASK
        from trainer.runs import load_run

        run = load_run(home)
        counts = run.metrics[run.model.name].get(TASK, {})
        detail(f"{counts.get('rows', 0):,.0f} instants of {counts.get('users', 0):,.0f} users")
    with step(6, _STEPS, "predict for one user from the online store"):
        from trainer.prediction import Predictor, busiest_user
        from trainer.runs import load_served_run

        user = busiest_user(home)
        prediction = Predictor(home, load_served_run(home)).now([user])[0]
    console.print(terminal.prediction_table(prediction))
    say(f"\nfeatures      {home / 'features'}")
    say(f"labels        {home / 'labels'}")
    say(f"feature store {home / 'feast'}")
    say(f"run           {folder}\n")
    console.print(metrics_table(run.metrics, TASK, "next action, after valid_end", short=True))
    say(f"next: trainer evaluate --dataset {dataset_path}")
