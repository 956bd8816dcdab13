"""The profile of the change connector is exactly this."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_atlan_meta.core.connector import ChangeConnector, profile
from airflow_provider_atlan_meta.core.errors import ConfigurationError

GOLDEN = Path(__file__).parents[2] / "fixtures" / "connector.json"
REFERENCE = "${file:/etc/connect/meta.properties:password}"


def connector(**fields: object) -> ChangeConnector:
    values = {
        "host": "db",
        "port": 5432,
        "user": "meta_cdc",
        "database": "meta",
        "password": REFERENCE,
        "tls": {"sslmode": "verify-full"},
    }
    return ChangeConnector(**{**values, **fields})  # type: ignore[arg-type]


def test_the_profile_is_the_golden_one() -> None:
    assert profile(connector()) == json.loads(GOLDEN.read_text())


def test_it_captures_no_table_and_only_our_messages() -> None:
    config = profile(connector())

    assert config["publication.autocreate.mode"] == "disabled"
    assert config["table.include.list"] == "meta.none"
    assert config["message.prefix.include.list"] == "outbox"
    assert config["snapshot.mode"] == "no_data"


def test_a_change_goes_to_the_changes_topic_of_its_prefix() -> None:
    config = profile(connector(topic_prefix="acme.meta-1", partitions=6, replication=1))

    assert config["transforms.outbox.route.topic.replacement"] == "acme.meta-1.${routedByValue}.v1"
    assert config["predicates.isMessage.pattern"] == r"acme\.meta-1\.message"
    assert config["topic.creation.changes.include"] == r"acme\.meta-1\.changes\.v1"
    assert config["topic.creation.changes.partitions"] == "6"
    assert config["topic.creation.changes.replication.factor"] == "1"


def test_a_change_of_the_largest_size_fits_a_request() -> None:
    config = profile(connector())

    assert int(config["producer.override.max.request.size"]) > int(
        config["topic.creation.changes.max.message.bytes"]
    )


def test_exactly_once_is_required_not_hoped_for() -> None:
    assert profile(connector())["exactly.once.support"] == "required"


@pytest.mark.parametrize("password", ["hunter2", "x${file:/a:b}", "${file:/a:b}${file:/a:c}"])
def test_a_password_that_is_no_reference_is_refused_and_not_repeated(password: str) -> None:
    with pytest.raises(ConfigurationError, match=r"database\.password: .*\$\{file:") as refused:
        profile(connector(password=password))

    assert "hunter2" not in str(refused.value)
