"""The board joins what the readers of each hop see, in whatever order they see it."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

from airflow_provider_atlan_meta.sandbox.demo.hops import HopBoard
from airflow_provider_atlan_meta.sandbox.expected_deliveries import Told
from airflow_provider_atlan_meta.sandbox.told_changes import ReadChange
from airflow_provider_atlan_meta.testing.manifest import SentPost

CHANGE = "3f1c1c2e-5a0b-4c55-9c1d-0a6b7e4f2a10"


def post(status: int, *ids: str, said: str | None = None) -> SentPost:
    payload = {"incident_id": "i", "event_list": [], "alert_feedback": said}
    return SentPost(
        run="r",
        seq=1,
        tenant="acme",
        kind="created",
        subject="i",
        body=json.dumps({"account": {"id": "a"}, "type": "t", "payload": payload}).encode(),
        expected_status=status,
        sent_at=100.0,
        answered_at=100.01,
        status=status,
        ids=ids,
    )


def row(event_id: str, **fields: Any) -> dict[str, Any]:
    known = {
        "tenant": "acme",
        "subject": "i",
        "duplicate": False,
        "committed_at": 100.035,
        "status": "FIXED",
        "severity": "SEV-1",
        "revision": 1,
    }
    return {"event_id": event_id} | known | fields


def change(revision: int = 1, at: float = 100.05) -> ReadChange:
    told = Told(
        change_id=CHANGE, kind="incident", op="updated", tenant="acme", id="i", revision=revision, row={}
    )
    return ReadChange(told, at, "1:2")


def webhook(at: float) -> dict[str, Any]:
    return {"body": json.dumps({"id": CHANGE}), "applied_at": at}


def slack(at: float, **fields: Any) -> dict[str, Any]:
    block = {"type": "context", "elements": [{"type": "mrkdwn", "text": f"revision 3 · change {CHANGE}"}]}
    return {"body": {"channel": "C0", "text": "x", "blocks": [block], **fields}, "applied_at": at}


def test_a_webhook_is_followed_from_answer_to_incident() -> None:
    board = HopBoard()
    board.on_row(row("a"))  # the row may be seen before the answer
    board.on_post(post(202, "a"))
    board.on_record("a", "3:17")
    (hop,) = board.hops()
    assert (hop.place, hop.row) == ("3:17", "35")
    assert hop.incident == "FIXED, SEV-1, revision 1"
    assert hop.took == {}


def test_it_is_followed_on_to_the_receivers_of_its_change() -> None:
    board = HopBoard()
    board.on_post(post(202, "a"))
    board.on_call(webhook(100.07))  # a call may be seen before the change it is about
    board.on_change(change())
    board.on_call(slack(100.5, thread_ts="1.1"))  # history, not the message
    board.on_call(slack(100.09))
    board.on_call(slack(101.0))  # the first time counts
    board.on_row(row("a"))
    (hop,) = board.hops()
    assert hop.took == {"change": "50", "webhook": "70", "Slack": "90"}


def test_calls_about_other_things_are_left_out() -> None:
    board = HopBoard()
    board.on_post(post(202, "a"))
    board.on_row(row("a"))
    board.on_change(change(revision=2))
    board.on_call(webhook(100.07))
    board.on_call({"body": {"channel": "C0", "text": "a DAG failed"}, "applied_at": 100.1})
    (hop,) = board.hops()
    assert hop.took == {}


def test_a_webhook_that_changes_nothing_has_no_further_hop() -> None:
    board = HopBoard()
    for event_id in ("a", "b"):
        board.on_post(post(202, event_id, said="fixed"))
        board.on_row(row(event_id))
    board.on_change(change())
    first, second = board.hops()
    assert first.took == {"change": "50"}
    assert (second.took, second.incident) == ({}, "changes nothing")


def test_webhooks_stored_together_each_have_their_own_change() -> None:
    board = HopBoard()
    for event_id, said in (("a", None), ("b", "investigating"), ("c", "work_in_progress")):
        board.on_post(post(202, event_id, said=said))
        board.on_row(row(event_id, revision=3))
    assert [hop.revision for hop in board.hops()] == [("acme", "i", n) for n in (1, 2, 3)]
    assert board.hops()[0].incident == "revision 1; now FIXED, SEV-1, revision 3"


def test_the_same_webhook_twice_is_two_hops() -> None:
    board = HopBoard()
    board.on_post(post(202, "a"))
    board.on_post(post(202, "a"))
    board.on_row(row("a"))
    board.on_row(row("a", duplicate=True))
    assert [hop.incident.split(",")[0] for hop in board.hops()] == ["FIXED", "said before: changes nothing"]


def test_an_event_without_an_incident_is_kept() -> None:
    board = HopBoard()
    board.on_post(post(202, "a"))
    board.on_row(row("a", revision=None))
    assert board.hops()[0].incident == "kept as an event"


def test_the_board_shows_refusals_as_well() -> None:
    board = HopBoard()
    board.on_post(post(401))
    console = Console(width=160, record=True)
    console.print(board)
    assert "401 in 10 ms" in console.export_text()
