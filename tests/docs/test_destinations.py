"""The destination that docs/destinations.md adds works: its file and its row, run through the contract."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from contract.destination import DestinationContract
from contract.http_bench import HttpBench
from contract.recorder_server import serving

from airflow_provider_atlan_meta.config.subscriptions import parse_subscriptions
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.routing import DestinationSpec
from airflow_provider_atlan_meta.core.sending import Destination
from airflow_provider_atlan_meta.services import destinations
from airflow_provider_atlan_meta.testing.recorder import Recorder

PAGE = Path(__file__).parents[2] / "docs" / "destinations.md"
CLIENT = "airflow_provider_atlan_meta.clients.board_destination"


@pytest.fixture
def sources(blocks: Callable[[Path], list[Any]]) -> dict[str, str]:
    return {block.mark.removeprefix("file: "): block.text for block in blocks(PAGE) if "file: " in block.mark}


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Recorder]]:
    with serving() as running:
        yield running


@pytest.fixture
def row(sources: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> destinations.DestinationRow:
    """Of the page, in the table."""
    module = ModuleType(CLIENT)
    exec(compile(sources["clients/board_destination.py"], str(PAGE), "exec"), vars(module))
    monkeypatch.setitem(sys.modules, CLIENT, module)
    names = dict(vars(destinations))
    exec(compile(sources["services/destinations.py"], str(PAGE), "exec"), names)
    board: destinations.DestinationRow = names["BOARD"]
    monkeypatch.setattr(destinations, "DESTINATIONS", {**destinations.DESTINATIONS, "board": board})
    return board


class BoardBench(HttpBench):
    service = "webhook"

    def __init__(self, url: str, recorder: Recorder) -> None:
        super().__init__(url, recorder)
        self.options = {"board": "ops"}

    def open(self) -> Destination:
        info = ConnectionInfo(conn_id="board", host=f"{self.url}/webhook", password="hunter2")
        return destinations.open_destination(DestinationSpec(type="board", conn_id="board"), info)

    def applied(self) -> list[int]:
        entries = [entry for entry in self.entries() if entry["applied_at"] is not None]
        return [json.loads(entry["body"])["revision"] for entry in entries]


class TestBoard(DestinationContract):
    @pytest.fixture
    def bench(self, server: tuple[str, Recorder], row: destinations.DestinationRow) -> BoardBench:
        return BoardBench(*server)


@pytest.mark.usefixtures("row")
def test_a_file_may_say_it_at_once() -> None:
    text = b"subscriptions: [{name: a, tenant: acme, match: {}, destination: {type: board, conn_id: b, board: ops}}]"

    (one,) = parse_subscriptions(text, file="f.yaml", destinations=destinations.destination_types())

    assert one.destination.options == {"board": "ops"}


def test_it_takes_forty_lines(sources: dict[str, str]) -> None:
    lines = [line for text in sources.values() for line in text.splitlines()]
    code = [line for line in lines if line.strip() and not line.startswith(("from ", "import ", '"""'))]
    assert len(code) <= 40
