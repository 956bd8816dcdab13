"""Numbers reach the scraper under their declared names."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from airflow_provider_atlan_meta.clients.prometheus import PrometheusMetrics
from airflow_provider_atlan_meta.core.metrics import DEFINITIONS


def samples(metrics: PrometheusMetrics) -> dict[tuple[str, ...], float]:
    text, content_type = metrics.exposition()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_counts_gauges_and_observations_are_exposed() -> None:
    metrics = PrometheusMetrics()
    metrics.count("atlan_meta_producer_requests_total", "202")
    metrics.count("atlan_meta_producer_requests_total", "202", by=2)
    metrics.set("atlan_meta_producer_in_flight", 5)
    metrics.observe("atlan_meta_producer_request_seconds", 0.003)
    found = samples(metrics)
    assert found["atlan_meta_producer_requests_total", "202"] == 3
    assert found["atlan_meta_producer_in_flight",] == 5
    assert found["atlan_meta_producer_request_seconds_count",] == 1
    assert found["atlan_meta_producer_request_seconds_bucket", "0.005"] == 1
    assert found["atlan_meta_producer_request_seconds_bucket", "0.0025"] == 0


def test_two_back_ends_do_not_share_numbers() -> None:
    one, other = PrometheusMetrics(), PrometheusMetrics()
    one.count("atlan_meta_producer_requests_total", "202")
    assert ("atlan_meta_producer_requests_total", "202") not in samples(other)


def test_every_declared_metric_is_there_from_the_start() -> None:
    text = PrometheusMetrics().exposition()[0].decode()
    for definition in DEFINITIONS:
        assert f"# HELP {definition.name} " in text


def test_a_scraper_that_asks_for_openmetrics_gets_it() -> None:
    text, content_type = PrometheusMetrics().exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
