"""What Spark says of a run in its event log: bytes shuffled, spilled and written, by model."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_MODEL = re.compile(
    r"InsertIntoDataSourceDirCommand\s+Arguments: Storage\(Location: [^)]*/(\w+)\.parquet"
)


def figures_by_model(folder: Path) -> dict[str, dict[str, int]]:
    """Sum up the tasks of every model.

    Parameters
    ----------
    folder : Path
        ``spark.eventLog.dir`` of one run.

    Returns
    -------
    figures
        ``{model: {shuffle_bytes, spill_bytes, written_bytes, task_ms}}``; what belongs to no model
        (tests, questions of the macros) is under ``""``.
    """
    model_of_execution: dict[str, str] = {}
    model_of_stage: dict[int, str] = {}
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for event in _events(folder):
        kind = event["Event"].rpartition(".")[2]
        if kind == "SparkListenerSQLExecutionStart":
            model = _MODEL.search(event["physicalPlanDescription"])
            if model:
                model_of_execution[str(event["executionId"])] = model[1]
        elif kind == "SparkListenerJobStart":
            properties = event.get("Properties") or {}
            # An adaptive plan runs parts of itself under the execution that it belongs to.
            names = ("spark.sql.execution.id", "spark.sql.execution.root.id")
            executions = [str(properties[name]) for name in names if name in properties]
            models = [model_of_execution[e] for e in executions if e in model_of_execution]
            for stage in event["Stage IDs"]:
                model_of_stage[stage] = models[0] if models else ""
        elif kind == "SparkListenerTaskEnd" and event.get("Task Metrics"):
            metrics = event["Task Metrics"]
            figures = found[model_of_stage.get(event["Stage ID"], "")]
            figures["shuffle_bytes"] += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
            figures["spill_bytes"] += metrics["Disk Bytes Spilled"]
            figures["written_bytes"] += metrics["Output Metrics"]["Bytes Written"]
            figures["task_ms"] += metrics["Executor Run Time"]
    return {model: dict(figures) for model, figures in found.items()}


def _events(folder: Path) -> Iterable[dict[str, Any]]:
    for path in sorted(folder.rglob("*")):
        # The current format is a folder of parts with a file of status beside them.
        if path.is_file() and not path.name.startswith(("appstatus", ".")):
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    yield json.loads(line)
