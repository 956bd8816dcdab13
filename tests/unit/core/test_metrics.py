"""Metric names are declared once."""

from __future__ import annotations

from typing import get_args

from airflow_provider_atlan_meta.core.metrics import DEFINITIONS, MetricName, NoopMetrics


def test_every_name_is_defined_once_and_every_definition_is_named() -> None:
    assert [definition.name for definition in DEFINITIONS] == list(get_args(MetricName))


def test_names_follow_prometheus_conventions() -> None:
    for definition in DEFINITIONS:
        assert definition.name.startswith("atlan_meta_")
        assert definition.name.endswith("_total") is (definition.kind == "counter")
        assert definition.name.endswith("_seconds") or definition.kind != "histogram"
        assert definition.help.endswith(".")


def test_without_a_back_end_numbers_go_nowhere() -> None:
    metrics = NoopMetrics()
    metrics.count("atlan_meta_producer_requests_total", "202")
    metrics.set("atlan_meta_producer_in_flight", 1)
    metrics.observe("atlan_meta_producer_request_seconds", 0.1)
