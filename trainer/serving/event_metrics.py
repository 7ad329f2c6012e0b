"""What Prometheus reads of the events that come in: verdicts, time until visible, what waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from trainer.streaming.events import ACCEPTED, DUPLICATE, MALFORMED, REJECTED, Verdict

# Dense around 1 s, the aim for an event among a thousand a second.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10, 30)


class EventMetrics:
    """The figures of ``POST /events``.

    Parameters
    ----------
    registry
        Where they are shown.
    waiting
        Says how many events have arrived and were not taken in yet.
    not_online
        Says how many users have events that their online features do not show yet.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        waiting: Callable[[], int],
        not_online: Callable[[], int],
    ) -> None:
        self._verdicts = Counter(
            "scalespace_events_total",
            "Events that were answered, by verdict.",
            ("verdict",),
            registry=registry,
        )
        for verdict in (ACCEPTED, DUPLICATE, REJECTED, MALFORMED):
            self._verdicts.labels(verdict)
        self._rejected = Counter(
            "scalespace_events_rejected_total",
            "Events that were rejected, by reason; unknown_action is one outside the taxonomy.",
            ("reason",),
            registry=registry,
        )
        self._seconds = Histogram(
            "scalespace_event_visible_seconds",
            "From an accepted event's arrival until the online store shows it.",
            buckets=_SECONDS,
            registry=registry,
        )
        for name, about, read in (
            ("scalespace_events_waiting", "Events that were not taken in yet.", waiting),
            (
                "scalespace_events_users_not_online",
                "Users with events that their online features do not show yet.",
                not_online,
            ),
        ):
            Gauge(name, about, registry=registry).set_function(read)

    def observe(self, verdicts: Iterable[Verdict], seconds: float) -> None:
        """Count the answers of one request, which took so long from its body to its answer."""
        for verdict in verdicts:
            self._verdicts.labels(verdict.verdict).inc()
            if verdict.verdict == REJECTED:
                self._rejected.labels(verdict.reason).inc()
            if verdict.verdict == ACCEPTED:
                self._seconds.observe(seconds)
