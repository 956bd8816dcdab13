"""docs/subscriptions.md: its files are taken, its commands print what it shows."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest

from airflow_provider_atlan_meta.cli import main
from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.deliveries import DeliveryState
from airflow_provider_atlan_meta.sandbox.isolation import Isolation

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "subscriptions.md"
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ")


@pytest.fixture
def page(blocks: Callable[[Path], list[Any]]) -> list[Any]:
    return blocks(PAGE)


@pytest.fixture
def folder(page: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With the files of the page."""
    for block in page:
        if block.mark.startswith("file: "):
            (tmp_path / block.mark.removeprefix("file: ")).write_text(block.text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printing(page: list[Any]) -> Iterator[tuple[Any, str]]:
    """Blocks of commands, and what they print by the page."""
    for number, block in enumerate(page):
        if block.mark == "prints":
            yield block, page[number + 1].text


def printed(block: Any, capsys: pytest.CaptureFixture[str]) -> str:
    for command in block.commands:
        assert main(shlex.split(command)[1:]) == 0, command
    return _TIME.sub("2026-11-25 01:18:43Z", capsys.readouterr().out).strip()


@pytest.mark.usefixtures("folder")
def test_what_needs_no_server_prints_what_the_page_shows(
    page: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    block, shown = next(printing(page))

    assert "-f subscriptions.yaml" in block.text
    assert printed(block, capsys) == shown


@pytest.mark.integration
def test_from_the_file_to_the_receipt_everything_prints_what_the_page_shows(
    page: list[Any],
    folder: Path,
    isolation: Isolation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database = isolation.new_database()
    for name, value in database.environ.items():
        monkeypatch.setenv(name, value)
    with psycopg.connect(database.dsn(database.admin), autocommit=True) as admin:
        deliver(admin, json.loads((folder / "change.json").read_text()))

    told = [(printed(block, capsys), shown) for block, shown in printing(page)]

    assert len(told) == 4
    for found, shown in told:
        assert found == shown


def deliver(admin: psycopg.Connection[Any], change: dict[str, Any]) -> None:
    """What a consumer would have written when the change was new."""
    subject = (change["tenant_id"], change["kind"], change["id"])
    admin.execute(
        "insert into meta.incident (tenant_id, incident_id, revision) values (%s, %s, %s)",
        (subject[0], subject[2], change["revision"]),
    )
    for part in ("", "thread"):
        lane = (*subject, "incidents-to-slack", part)
        delivery_id = identity.delivery_id(change["change_id"], f"{lane[3]}.{part}" if part else lane[3])
        admin.execute(
            "insert into meta.delivery (tenant_id, kind, id, subscription, part, delivery_id, change_id, revision,"
            " state, attempts, status, external_id, at, settled_at)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, 'delivered', 1, 200, %s, %s, now())",
            (
                *(*lane, delivery_id, change["change_id"], change["revision"]),
                *("C0123456789:1764033523.0000" + ("12" if part else "08"), change["changed_at"]),
            ),
        )
        admin.execute(
            "insert into meta.delivery_lane (tenant_id, kind, id, subscription, part, partition, last)"
            " values (%s, %s, %s, %s, %s, 0, %s)",
            (*lane, json.dumps(change)),
        )


def test_every_state_of_a_delivery_is_told() -> None:
    text = PAGE.read_text().partition("## Receipts")[2].partition("\n## ")[0]

    assert set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE)) == set(get_args(DeliveryState))


def test_the_example_of_this_repository_is_taken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = ROOT / "docs" / "examples" / "subscriptions.yaml"

    assert main(["subscription", "explain", "--event", "change.json", "-f", str(example), "--json"]) == 0

    told = json.loads(capsys.readouterr().out)["subscriptions"]
    assert {one["name"]: one["outcome"] for one in told} == {
        "incidents-to-slack": "match",
        "severe-to-on-call": "no match",
        "acme-everything": "match",
    }
