"""Servers, their order and their groups."""

from __future__ import annotations

import pytest

from airflow_provider_atlan_meta.core.errors import ConfigurationError
from airflow_provider_atlan_meta.sandbox.registry import ALL, DEFAULT, GROUPS, SERVERS, expand, with_needs


def test_every_server_needs_only_servers_that_exist_and_has_ports_of_its_own() -> None:
    for name, server in SERVERS.items():
        assert server.name == name
        assert {*server.needs, *server.brings} <= set(SERVERS)
    ports = [port for server in SERVERS.values() for port in server.ports]
    assert len(ports) == len(set(ports))


def test_what_a_server_needs_comes_before_it() -> None:
    for name in SERVERS:
        ordered = with_needs([name])
        for member in ordered:
            assert all(ordered.index(need) < ordered.index(member) for need in SERVERS[member].needs)


def test_naming_the_ingest_service_brings_kafka_and_postgres() -> None:
    assert set(with_needs(["ingest"])) == {"kafka", "postgres", "ingest"}


def test_the_consumer_service_starts_behind_the_capture_that_fills_its_topic() -> None:
    ordered = with_needs(["consumer"])

    assert set(ordered) == {"kafka", "postgres", "connect", "consumer"}
    assert ordered[-1] == "consumer"


def test_airflow_brings_the_stores_its_dags_work_on() -> None:
    assert {"airflow-db", "airflow", "postgres", "kafka"} <= set(with_needs(["airflow"]))


def test_serve_stands_for_our_services_and_the_default_has_them() -> None:
    assert expand(["serve"]) == ["producer", "ingest", "consumer"]
    assert expand(["kafka", "serve", "kafka"]) == ["kafka", "producer", "ingest", "consumer"]
    assert set(GROUPS[DEFAULT]) == {
        "postgres",
        "kafka",
        "connect",
        "recorder",
        "producer",
        "ingest",
        "consumer",
    }


def test_an_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match="no server 'zookeeper'; there are postgres, kafka"):
        expand(["zookeeper"])


def test_cassandra_needs_nobody_and_comes_only_when_it_is_asked_for() -> None:
    assert with_needs(["cassandra"]) == ["cassandra"]
    assert "cassandra" not in GROUPS[DEFAULT]
    assert "cassandra" in GROUPS[ALL]


def test_atlas_comes_with_kafka_and_only_when_it_is_asked_for() -> None:
    assert with_needs(["atlas"]) == ["kafka", "atlas"]
    assert "atlas" not in GROUPS[DEFAULT]
    assert "atlas" in GROUPS[ALL]
