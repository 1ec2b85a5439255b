"""What Prometheus reads.

With several workers each writes its numbers into files of one folder (prometheus_client's multiprocess mode), and
whichever is asked adds them up. What the store alone knows is asked of it when Prometheus comes."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from mlforge.online.published import Manifest

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
STATES = ("present", "expired", "missing", "out_of_range", "missing")
"""The words for what a client counts: a row whose key is None is missing too."""


class Metrics:
    """The numbers of one process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        if FOLDER not in os.environ:
            ProcessCollector(registry=registry)
        self._seconds = Histogram(
            "mlforge_request_seconds",
            "How long requests took.",
            ["route", "status"],
            buckets=BUCKETS,
            registry=registry,
        )
        rows = Counter("mlforge_entity_rows", "Entity rows that were asked for.", registry=registry)
        found = Counter(
            "mlforge_values_read", "Keys of features that were read, by what was found.", ["status"], registry=registry
        )
        errors = Counter("mlforge_store_errors", "Requests that failed because of the store.", registry=registry)
        self.rows = rows.inc
        self._found = [found.labels(state) for state in STATES]
        self.store_error = errors.inc
        self._of_route: dict[tuple[str, int], Any] = {}

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        try:
            observe = self._of_route[route, status]
        except KeyError:
            observe = self._of_route[route, status] = self._seconds.labels(route, str(status)).observe
        observe(seconds)

    def found(self, counts: list[int]) -> None:
        """Take over what a client counted, and count from zero."""
        for number, count in enumerate(counts):
            if count:
                self._found[number].inc(count)
                counts[number] = 0

    def page(self, manifest: Manifest | None, *, up: bool) -> bytes:
        """All numbers of all workers, as Prometheus reads them."""
        registry = self._registry
        if FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return bytes(generate_latest(registry)) + bytes(generate_latest(_of_store(manifest, up=up)))


class _Store:
    def __init__(self, manifest: Manifest | None, *, up: bool) -> None:
        self.manifest = manifest
        self.up = up

    def collect(self) -> Iterator[Metric]:
        """What the store says now."""
        yield GaugeMetricFamily("mlforge_store_up", "Whether the online store answers.", value=int(self.up))
        if self.manifest is not None:
            age = max(0.0, time.time() - self.manifest.published_at / 1_000_000)
            yield GaugeMetricFamily("mlforge_publish_age_seconds", "Age of the newest publish.", value=age)
            generation = self.manifest.generation
            yield GaugeMetricFamily("mlforge_publish_generation", "Its number.", value=generation)


def _of_store(manifest: Manifest | None, *, up: bool) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Store(manifest, up=up))
    return registry
