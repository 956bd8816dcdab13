"""``atlan-meta subscription`` and ``atlan-meta deliveries``: what they print, and their exit codes."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_atlan_meta.cli import main
from airflow_provider_atlan_meta.core.deliveries import Subject
from airflow_provider_atlan_meta.core.receipts import (
    KnownRow,
    Readable,
    Receipt,
    ReceiptQuery,
    SubscriptionUse,
)
from airflow_provider_atlan_meta.core.stored_subscriptions import StoredSubscription
from airflow_provider_atlan_meta.services import subscriptions
from airflow_provider_atlan_meta.testing.memory_subscriptions import MemorySubscriptions

Capture = pytest.CaptureFixture[str]
AT = datetime(2026, 11, 25, 1, 18, 43, 265161, tzinfo=UTC)
SLACK = {"type": "slack", "conn_id": "atlan_meta_slack_default", "options": {"channel": "C0123456789"}}
FILE = """\
subscriptions:
  - name: incidents-to-slack
    tenant: acme
    match: {kind: incident}
    destination: {type: slack, channel: C0123456789}
"""
CHANGE = {
    "change_id": "2daa61d7-4c1b-41cf-cd23-72b9ab38b48b",
    "kind": "incident",
    "op": "updated",
    "tenant_id": "acme",
    "id": "inc-1",
    "revision": 2,
    "changed_at": "2026-11-25T01:18:43.265161+00:00",
    "changed": ["severity"],
    "before": {"severity": None},
    "after": {"severity": "SEV-1", "title": "Has 42 rows"},
}


class FakeReceipts:
    """What ``PostgresReceipts`` would read."""

    can_see = Readable(True, ("acme", "globex"))
    stored: Sequence[tuple[StoredSubscription, SubscriptionUse]] = ()
    found: Sequence[Receipt] = ()
    asked: ReceiptQuery | None = None

    def __init__(self, *_: object) -> None:
        return

    def __enter__(self) -> FakeReceipts:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def readable(self) -> Readable:
        return self.can_see

    def subscriptions(self) -> Sequence[tuple[StoredSubscription, SubscriptionUse]]:
        return self.stored

    def receipts(self, query: ReceiptQuery) -> Sequence[Receipt]:
        type(self).asked = query
        return self.found

    def changed(self, change_id: str) -> tuple[Subject, int] | None:
        return (Subject("acme", "incident", "inc-1"), 2) if change_id == CHANGE["change_id"] else None

    def rows(self, _row_id: str) -> Sequence[KnownRow]:
        return ()

    def changes(self, _subject: Subject) -> Sequence[bytes]:
        return [json.dumps(CHANGE).encode()]


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> MemorySubscriptions:
    store = MemorySubscriptions()
    monkeypatch.setattr(subscriptions, "PostgresSubscriptions", lambda *_, **__: store)
    monkeypatch.setattr(subscriptions, "PostgresReceipts", type("Receipts", (FakeReceipts,), {}))
    for name in ("CONSUMER", "READER"):
        monkeypatch.setenv(f"AIRFLOW_CONN_ATLAN_META_POSTGRES_{name}", "postgres://u:p@127.0.0.1:1/db")
    return store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "subscriptions.yaml"
    path.write_text(FILE)
    return path


def receipts() -> Any:
    """The fake in force: what is set on it is what is read."""
    return vars(subscriptions)["PostgresReceipts"]


# ---- apply -----------------------------------------------------------------------------------------------------------


def test_applying_a_file_says_what_changed_and_who_did_it_is_audited(
    file: Path, fake: MemorySubscriptions, capsys: Capture
) -> None:
    assert main(["subscription", "apply", "-f", str(file), "--actor", "dana"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "+ incidents-to-slack (acme to slack)",
        "applied: 1 added, 0 changed, 0 removed, 0 unchanged",
    ]
    assert [(entry.actor, entry.action) for entry in fake.audit] == [("dana", "subscription.add")]


def test_without_an_actor_it_is_whoever_is_logged_in(file: Path, fake: MemorySubscriptions) -> None:
    main(["subscription", "apply", "-f", str(file)])

    assert "@" in fake.audit[0].actor


def test_applying_it_again_does_nothing_and_says_so(file: Path, capsys: Capture) -> None:
    main(["subscription", "apply", "-f", str(file)])
    capsys.readouterr()

    assert main(["subscription", "apply", "-f", str(file)]) == 0
    assert capsys.readouterr().out == "nothing to do: 1 unchanged\n"


def test_a_dry_run_applies_nothing_yet(file: Path, fake: MemorySubscriptions, capsys: Capture) -> None:
    assert main(["subscription", "apply", "-f", str(file), "--dry-run"]) == 0

    assert (
        "nothing was applied yet: 1 added, 0 changed, 0 removed, 0 unchanged"
        in capsys.readouterr().out.splitlines()
    )
    assert fake.load()[1] == ()


def test_what_is_enabled_again_and_what_is_abandoned_is_pointed_out(
    file: Path, fake: MemorySubscriptions, capsys: Capture
) -> None:
    main(["subscription", "apply", "-f", str(file)])
    fake.disable("incidents-to-slack", "the receiver answered 410")
    fake.store_by_hand("old", tenant="acme", match={}, destination=SLACK)
    fake.waiting["old"], fake.parked["incidents-to-slack"] = 3, 2
    capsys.readouterr()

    main(["subscription", "apply", "-f", str(file)])

    assert capsys.readouterr().out.splitlines() == [
        "~ incidents-to-slack",
        "    enabled: false -> true",
        "- old (acme to slack)",
        "! incidents-to-slack is enabled again; it had been disabled: the receiver answered 410",
        "! 3 deliveries wait for old: nobody sends them any more, they stay as receipts",
        "! 2 subjects wait for incidents-to-slack: they are tried again at once",
        "applied: 0 added, 1 changed, 1 removed, 0 unchanged",
    ]


def test_a_wrong_file_is_2_with_every_problem_and_its_line(
    file: Path, fake: MemorySubscriptions, capsys: Capture
) -> None:
    file.write_text(FILE.replace("tenant: acme", "tenant: Acme Inc.").replace("slack,", "slock,"))

    assert main(["subscription", "apply", "-f", str(file)]) == 2

    told = capsys.readouterr().err
    assert f"{file}:3: tenant 'Acme Inc.'" in told.replace('"', "'")
    assert f"{file}:5: " in told
    assert "did you mean 'slack'?" in told
    assert fake.load()[1] == ()


def test_a_file_that_is_not_there_is_2(tmp_path: Path, capsys: Capture) -> None:
    assert main(["subscription", "apply", "-f", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml cannot be read" in capsys.readouterr().err


def test_a_store_that_is_away_is_1_and_nothing_was_changed(
    file: Path, fake: MemorySubscriptions, capsys: Capture
) -> None:
    fake.is_down = True

    assert main(["subscription", "apply", "-f", str(file), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"] == "TransientError"


def test_json_tells_the_diff_to_machines(file: Path, capsys: Capture) -> None:
    main(["subscription", "apply", "-f", str(file), "--json"])

    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["added"]] == ["incidents-to-slack"]
    assert (told["removed"], told["dry_run"], told["abandoned"]) == ([], False, {})


# ---- list ------------------------------------------------------------------------------------------------------------


def test_the_list_says_of_each_how_it_is_and_why(capsys: Capture) -> None:
    used = SubscriptionUse(AT, "dana", None, 0, AT)
    receipts().stored = [
        (StoredSubscription("a", "*", {}, SLACK, True, 3), used),
        (
            StoredSubscription("b", "acme", {}, SLACK, False, 1, "answered 410"),
            used._replace(disabled_at=AT, parked=2),
        ),
        (StoredSubscription("c", "acme", {}, SLACK, False, 1), used._replace(last_delivery=None)),
        (StoredSubscription("d", "acme", {"severity": {"like": 1}}, SLACK, True, 1), used),
    ]

    assert main(["subscription", "list"]) == 0

    titles, *rows = capsys.readouterr().out.splitlines()
    assert titles.split() == [
        "name",
        "tenant",
        "destination",
        "revision",
        "parked",
        "last",
        "delivery",
        "state",
    ]
    assert rows[0].split() == [
        *("a", "*", "slack", "atlan_meta_slack_default", "3", "0", "2026-11-25", "01:18:43Z", "enabled")
    ]
    assert rows[1].endswith("disabled since 2026-11-25 01:18:43Z: answered 410")
    assert rows[2].endswith(" -              disabled: by its file") or rows[2].endswith(
        "disabled: by its file"
    )
    assert "unusable: match.severity" in rows[3]

    main(["subscription", "list", "--json"])
    listed = json.loads(capsys.readouterr().out)
    assert [one["state"] for one in listed] == ["enabled", "disabled", "disabled", "unusable"]
    assert (listed[1]["reason"], listed[1]["parked"]) == ("answered 410", 2)


def test_an_empty_list_says_what_could_have_been_in_it(capsys: Capture) -> None:
    assert main(["subscription", "list"]) == 0
    assert capsys.readouterr().out == "no subscriptions; this connection sees acme, globex\n"


# ---- explain ---------------------------------------------------------------------------------------------------------

TOLD = """\
incident inc-1 of acme, revision 2, updated (severity)
change 2daa61d7-4c1b-41cf-cd23-72b9ab38b48b: {origin}

{name} (to slack): {outcome}
    {leaf}
"""


def test_a_change_in_a_file_is_explained_against_a_file_without_any_store(
    file: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_ATLAN_META_POSTGRES_READER")
    event = tmp_path / "change.json"
    event.write_text(json.dumps(CHANGE))

    assert main(["subscription", "explain", "--event", str(event), "-f", str(file)]) == 0

    assert capsys.readouterr().out == TOLD.format(
        origin=f"from {event}",
        name="incidents-to-slack",
        outcome="match",
        leaf='match.kind: found "incident", wanted ["incident"]: match',
    )


def test_a_change_may_come_from_stdin(file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(json.dumps(CHANGE).encode()))
    monkeypatch.setattr("sys.stdin", stdin)

    assert main(["subscription", "explain", "--event", "-", "-f", str(file)]) == 0
    assert "from stdin" in capsys.readouterr().out


def test_a_delivered_change_is_explained_against_what_is_stored(capsys: Capture) -> None:
    use = SubscriptionUse(AT, "dana", None, 0, None)
    receipts().stored = [
        (StoredSubscription("a", "acme", {"severity": {"from": ["SEV-1"]}}, SLACK, True, 1), use),
        (StoredSubscription("b", "*", {}, SLACK, True, 1), use),
        (StoredSubscription("c", "*", {"severity": {"like": 1}}, SLACK, True, 1), use),
    ]

    assert main(["subscription", "explain", "--event", str(CHANGE["change_id"])]) == 0

    told = capsys.readouterr().out
    assert told.startswith(
        TOLD.format(
            origin="as it was told",
            name="a",
            outcome="no match",
            leaf='match.severity.from: found null, wanted ["SEV-1"]: no match',
        )
    )
    assert "b (to slack): match\n    no conditions: every change of *" in told
    assert "c: cannot be used, so it hears of nothing: match.severity" in told


def test_nobody_to_hear_of_it_is_said(capsys: Capture) -> None:
    assert main(["subscription", "explain", "--event", str(CHANGE["change_id"])]) == 0
    assert "no subscription of tenant acme or of every tenant" in capsys.readouterr().out


@pytest.mark.parametrize("event", ["none.json", "inc-9", "x" * 400])
def test_an_event_that_is_nowhere_is_2(event: str, capsys: Capture) -> None:
    assert main(["subscription", "explain", "--event", event]) == 2
    assert event[:20] in capsys.readouterr().err


# ---- deliveries ------------------------------------------------------------------------------------------------------


def receipt(**fields: Any) -> Receipt:
    return Receipt(
        **{
            **{"delivery_id": "d-1", "at": AT, "settled_at": AT, "state": "delivered", "attempts": 1},
            **{"subscription": "a", "part": "", "subject": Subject("acme", "incident", "inc-1")},
            **{"change_id": "c-1", "revision": 2, "status": 200, "detail": "", "folded": 0},
            **{"external_id": "C1:1764.5"},
            **fields,
        }
    )


def test_receipts_are_a_line_each(capsys: Capture) -> None:
    receipts().found = [
        receipt(part="thread", folded=1),
        receipt(
            state="parked", settled_at=None, attempts=3, status=503, detail="answered 503", external_id=""
        ),
    ]

    assert main(["deliveries"]) == 0

    titles, first, second = capsys.readouterr().out.splitlines()
    assert titles.split() == ["when", "state", "tries", "to", "of", "revision", "told"]
    assert first.split("  ")[0] == "2026-11-25 01:18:43Z"
    assert "a/thread" in first
    assert first.endswith("status 200; C1:1764.5; 1 doubles taken away")
    assert "acme incident inc-1" in second
    assert second.endswith("status 503; answered 503")


def test_what_is_asked_for_is_what_is_read(capsys: Capture) -> None:
    change_id = str(CHANGE["change_id"])
    asked = ["--change", change_id.upper(), "--incident", "inc-1", "--subscription", "a", "--state", "parked"]

    assert main(["deliveries", *asked, "--tenant", "acme", "--limit", "7"]) == 0

    assert receipts().asked == ReceiptQuery(
        change_id=change_id, incident="inc-1", subscription="a", state="parked", tenant="acme", limit=7
    )
    assert capsys.readouterr().out == (
        f"no deliveries of change id {change_id}, incident inc-1, subscription a, state parked, tenant acme; "
        "this connection sees acme, globex\n"
    )


def test_more_than_were_asked_for_are_announced(capsys: Capture) -> None:
    receipts().found = [receipt(), receipt()]

    main(["deliveries", "--limit", "2"])

    assert capsys.readouterr().out.splitlines()[-1] == "these are the newest 2; --limit shows more"


def test_a_connection_that_sees_nobody_says_how_it_would(capsys: Capture) -> None:
    receipts().can_see = Readable(True, ())

    assert main(["deliveries"]) == 0
    assert '{"options": "-c meta.tenants=acme,globex"}' in capsys.readouterr().out


def test_a_tenant_that_is_hidden_is_not_taken_for_one_without_deliveries(capsys: Capture) -> None:
    assert main(["deliveries", "--tenant", "initech"]) == 0
    assert "tenant initech is not one this connection may see" in capsys.readouterr().out


def test_receipts_for_machines_are_a_list(capsys: Capture) -> None:
    receipts().found = [receipt()]

    assert main(["deliveries", "--json"]) == 0

    (told,) = json.loads(capsys.readouterr().out)
    assert (told["tenant_id"], told["kind"], told["id"]) == ("acme", "incident", "inc-1")
    assert told["at"] == "2026-11-25T01:18:43.265161+00:00"


@pytest.mark.parametrize(
    "arguments", [["--change", "inc-1"], ["--state", "sent"], ["--limit", "0"], ["--limit", "1000000"]]
)
def test_wrong_filters_are_2(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["deliveries", *arguments])

    assert ended.value.code == 2
