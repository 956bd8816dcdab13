"""``core.metrics.Metrics`` kept by prometheus-client, and its text for scrapers."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder

from airflow_provider_atlan_meta.core.metrics import DEFINITIONS, MetricDefinition, MetricName

_Metric = Counter | Gauge | Histogram


class PrometheusMetrics:
    """One registry per object: two services in one process do not share numbers. Thread-safe."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._metrics = {definition.name: _build(definition, self._registry) for definition in DEFINITIONS}
        self._children: dict[tuple[str, ...], _Metric] = {}

    def count(self, name: MetricName, *labels: str, by: float = 1) -> None:
        self._child(name, labels).inc(by)  # type: ignore[union-attr]

    def set(self, name: MetricName, value: float, *labels: str) -> None:
        self._child(name, labels).set(value)  # type: ignore[union-attr]

    def observe(self, name: MetricName, value: float, *labels: str) -> None:
        self._child(name, labels).observe(value)  # type: ignore[union-attr]

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The numbers now, and their content type: OpenMetrics where the scraper asks for it."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def _child(self, name: MetricName, labels: tuple[str, ...]) -> _Metric:
        key = (name, *labels)
        child = self._children.get(key)
        if child is None:
            metric = self._metrics[name]
            child = self._children[key] = metric.labels(*labels) if labels else metric
        return child


def _build(definition: MetricDefinition, registry: CollectorRegistry) -> _Metric:
    name, text, labels = definition.name, definition.help, definition.labels
    if definition.kind == "counter":
        return Counter(name, text, labels, registry=registry)
    if definition.kind == "gauge":
        return Gauge(name, text, labels, registry=registry)
    return Histogram(
        name, text, labels, registry=registry, buckets=definition.buckets or Histogram.DEFAULT_BUCKETS
    )
