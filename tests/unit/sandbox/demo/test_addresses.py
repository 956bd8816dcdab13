"""What the demo says to try is what works: commands that exist, and a webhook that is rightly signed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_atlan_meta.cli import build_parser
from airflow_provider_atlan_meta.sandbox.demo.addresses import addresses
from airflow_provider_atlan_meta.sandbox.demo.evidence import SUBSCRIPTIONS
from airflow_provider_atlan_meta.sandbox.expected_deliveries import SLACK, read_asked
from airflow_provider_atlan_meta.sandbox.home import Home
from airflow_provider_atlan_meta.testing.webhooks import SIGNATURE_HEADER, WebhookTenant, sign

FIELDS = {
    "airflow_url": "http://127.0.0.1:1",
    "airflow_user": "admin",
    "airflow_password": "pass",
    "postgres_dsn": "host=127.0.0.1",
    "kafka_bootstrap": "127.0.0.1:2",
    "connect_url": "http://127.0.0.1:3",
    "recorder_url": "http://127.0.0.1:4",
    "producer_url": "http://127.0.0.1:5",
}
TYPES = [one.match["type"][0] for one in read_asked(SUBSCRIPTIONS.read_text()) if one.destination == SLACK]


@pytest.fixture
def told(tmp_path: Path) -> str:
    stage: Any = SimpleNamespace(
        fields=FIELDS,
        sandbox=SimpleNamespace(home=Home(tmp_path)),
        tenants=[WebhookTenant("acme", "secret")],
        evidence=SimpleNamespace(slack_types=tuple(TYPES)),
        dags=("atlan_meta_ingest", "atlan_meta_propagate"),
        topic="meta.events.v1",
        changes_topic="meta.changes.v1",
        logs=tmp_path / "logs",
    )
    return addresses(stage)


def test_every_address_and_credential_is_there(told: str) -> None:
    for field in FIELDS.values():
        assert field in told


def test_the_commands_exist(told: str) -> None:
    commands = [line.split("atlan-meta ", 1)[1] for line in told.splitlines() if "/atlan-meta " in line]
    assert len(commands) >= 5
    for command in commands:
        words = shlex.split(command.split("    ")[0].removesuffix(')"'))
        build_parser().parse_args(words)


def test_the_webhook_to_paste_is_rightly_signed_and_about_what_a_channel_hears_of(told: str) -> None:
    posts = [shlex.split(line) for line in told.splitlines() if "--data-binary" in line]
    assert len(posts) == 2
    for words in posts:
        body = Path(words[words.index("--data-binary") + 1].removeprefix("@")).read_bytes()
        assert f"{SIGNATURE_HEADER}: {sign('secret', body)}" in words
        assert json.loads(body)["type"] in TYPES
