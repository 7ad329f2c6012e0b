"""What Prometheus reads: latencies by route, freshness of the features, cold users, the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
    values,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

# Where Feast is imported first, it switches this library to files that many processes share, by
# variables of the environment: two applications of one process would then count together.
values.ValueClass = values.MutexValue

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Dense around 10 ms, the aim of a prediction for one user.
_SECONDS = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """The figures of one application, in a registry of its own.

    Labels have few values: a route is its template, never the path that was asked for.

    Parameters
    ----------
    features_now
        Says for which instant the online store is loaded; ``None`` where it is empty.
    """

    def __init__(self, features_now: Callable[[], datetime | None]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "scalespace_request_duration_seconds",
            "From a request's first byte to the end of its answer.",
            ("route", "method", "status"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.running = Gauge(
            "scalespace_requests_running",
            "Requests without a whole answer.",
            registry=self.registry,
        )
        self.stages = Histogram(
            "scalespace_predict_stage_duration_seconds",
            "Parts of a prediction: reading the features, running the model.",
            ("stage",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.predictions = Counter(
            "scalespace_predictions_total",
            "Users predicted for; cold ones, unknown to the store, got the prior.",
            ("cold",),
            registry=self.registry,
        )
        self.refused = Counter(
            "scalespace_requests_refused_total",
            "Requests refused by a limit.",
            ("reason",),
            registry=self.registry,
        )
        self.errors = Counter(
            "scalespace_errors_total",
            "Requests that ended in an error of ours; the log has each one's cause.",
            registry=self.registry,
        )
        self.reloads = Counter(
            "scalespace_model_reloads_total",
            "Models loaded after the first, and failed attempts.",
            ("result",),
            registry=self.registry,
        )
        for cold in ("false", "true"):  # a share needs both from the start
            self.predictions.labels(cold)
        self._serving: tuple[str, str] | None = None
        self.registry.register(_WhenAsked(self._model_info))
        self.registry.register(_WhenAsked(lambda: _freshness(features_now())))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def serving(self, run: str, model: str) -> None:
        """Say which run answers from now on."""
        self._serving = run, model

    def _model_info(self) -> Iterator[GaugeMetricFamily]:
        if self._serving is not None:
            info = GaugeMetricFamily(
                "scalespace_model_info", "1 for the run that answers.", labels=("run", "model")
            )
            info.add_metric(self._serving, 1)
            yield info

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


class _WhenAsked(Collector):
    """Figures that are made when they are read: an age that is stored is wrong a moment later."""

    def __init__(self, make: Callable[[], Iterator[GaugeMetricFamily]]) -> None:
        self._make = make

    def describe(self) -> list[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        return self._make()


def _freshness(now: datetime | None) -> Iterator[GaugeMetricFamily]:
    if now is None:
        return
    yield GaugeMetricFamily(
        "scalespace_features_instant_seconds",
        "The instant for which the online store is loaded, since 1970.",
        value=now.timestamp(),
    )
    yield GaugeMetricFamily(
        "scalespace_features_age_seconds",
        "How far that instant lies behind the clock.",
        value=(datetime.now(UTC) - now).total_seconds(),
    )
