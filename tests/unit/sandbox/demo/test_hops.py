"""The board joins what three readers see, in whatever order they see it."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from airflow_provider_atlan_meta.sandbox.demo.hops import HopBoard
from airflow_provider_atlan_meta.testing.manifest import SentPost


def post(status: int, *ids: str) -> SentPost:
    return SentPost(
        run="r",
        seq=1,
        tenant="acme",
        kind="created",
        subject="i",
        body=b"{}",
        expected_status=status,
        sent_at=100.0,
        answered_at=100.01,
        status=status,
        ids=ids,
    )


def row(event_id: str, **fields: Any) -> dict[str, Any]:
    known = {
        "duplicate": False,
        "committed_at": 100.035,
        "status": "FIXED",
        "severity": "SEV-1",
        "revision": 3,
    }
    return {"event_id": event_id} | known | fields


def test_a_webhook_is_followed_from_answer_to_incident() -> None:
    board = HopBoard()
    board.on_row(row("a"))  # the row may be seen before the answer
    board.on_post(post(202, "a"))
    board.on_record("a", "3:17")
    (hop,) = board.hops()
    assert (hop.place, hop.row) == ("3:17", "35 ms")
    assert hop.incident == "status FIXED, severity SEV-1, revision 3"


def test_the_same_webhook_twice_is_two_hops() -> None:
    board = HopBoard()
    board.on_post(post(202, "a"))
    board.on_post(post(202, "a"))
    board.on_row(row("a"))
    board.on_row(row("a", duplicate=True))
    assert [hop.incident.split()[0] for hop in board.hops()] == ["status", "said"]


def test_the_board_shows_refusals_as_well() -> None:
    board = HopBoard()
    board.on_post(post(401))
    console = Console(width=160, record=True)
    console.print(board)
    assert "401 in 10 ms" in console.export_text()
