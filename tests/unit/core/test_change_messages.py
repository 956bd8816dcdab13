from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_atlan_meta.core.change_messages import ChatMessage, change_answer, row_message
from airflow_provider_atlan_meta.core.changes import COLUMNS, ChangeEvent

CHANGE = ChangeEvent(
    change_id="0d3f5a52-0f3c-5c93-8f4b-6a1f2b3c4d5e",
    kind="incident",
    op="updated",
    tenant_id="acme",
    id="inc-1",
    revision=3,
    changed_at="2026-11-25T00:50:00.123456+00:00",
    changed=["status"],
    before={"status": None},
    after={
        "type": "open_anomaly_incident",
        "title": "Has 42 rows vs. 101 expected",
        "status": "ACKNOWLEDGED",
        "severity": "SEV-1",
        "priority": None,
        "owner": "dana@acme.example",
        "url": "https://getmontecarlo.com/alerts/inc-1?a=1&b=2",
        "opened_at": "2026-11-25T01:50:00.123456+01:00",
        "resolved_at": None,
        "entity_ids": ["a", "b", "c"],
    },
)
TABLE = msgspec.structs.replace(
    CHANGE,
    kind="entity",
    id="e-1",
    after={
        "name": "orders",
        "qualified_name": "mc:acme:db.orders",
        "type_name": "table",
        "platform": "montecarlo",
    },
)
MARKUP = re.compile(r"<(https?://[^<>|\s]+)\|([^<>]*)>")


def texts(message: ChatMessage) -> list[str]:
    """Every text of the blocks, in the order it is read."""
    found = []
    for block in message.blocks:
        parts = [block["text"]] if "text" in block else block.get("fields", block.get("elements"))
        found += [part["text"] for part in parts]
    return found


def whole(message: ChatMessage) -> str:
    return "\n".join(texts(message))


def changed(**columns: tuple[Any, Any]) -> ChangeEvent:
    """Of each column what it was and is."""
    return msgspec.structs.replace(
        CHANGE,
        changed=list(columns),
        before={name: was for name, (was, _) in columns.items()},
        after=dict(CHANGE.after or {}) | {name: now for name, (_, now) in columns.items()},
    )


def deleted(change: ChangeEvent = CHANGE) -> ChangeEvent:
    return msgspec.structs.replace(change, op="deleted", changed=None, before=change.after, after=None)


# ---- the message of a row --------------------------------------------------------------------------------------------


def test_the_message_of_an_incident_shows_it_as_it_is_now() -> None:
    message = row_message(CHANGE)

    assert texts(message) == [
        ":red_circle: <https://getmontecarlo.com/alerts/inc-1?a=1&amp;b=2|Has 42 rows vs. 101 expected>",
        "*Status*\nACKNOWLEDGED",
        "*Severity*\nSEV-1",
        "*Owner*\ndana@acme.example",
        "*Tables*\n3",
        "*Opened*\n2026-11-25 00:50:00 UTC",
        "incident inc-1 · tenant acme · revision 3 · change 0d3f5a52-0f3c-5c93-8f4b-6a1f2b3c4d5e",
    ]
    assert message.text == "Has 42 rows vs. 101 expected: status ACKNOWLEDGED, severity SEV-1"


def test_the_message_of_an_entity_shows_which_it_is() -> None:
    assert texts(row_message(TABLE))[:4] == [
        ":card_index: *orders*",
        "*Type*\ntable",
        "*Platform*\nmontecarlo",
        "*Qualified name*\nmc:acme:db.orders",
    ]


@pytest.mark.parametrize("change", [CHANGE, TABLE])
def test_a_deleted_row_is_shown_as_it_last_was_and_said_to_be_deleted(change: ChangeEvent) -> None:
    message = row_message(deleted(change))

    assert texts(message)[0].startswith(":wastebasket:")
    assert "was deleted" in texts(message)[0]
    assert texts(message)[1:-1] == texts(row_message(change))[1:-1]
    assert message.text.endswith(": deleted")


@pytest.mark.parametrize(
    ("status", "severity", "sign"),
    [
        (None, "SEV-1", ":red_circle:"),
        (None, "SEV-3", ":large_orange_circle:"),
        (None, None, ":large_orange_circle:"),
        ("FIXED", "SEV-1", ":large_green_circle:"),
        ("FALSE_POSITIVE", None, ":large_green_circle:"),
    ],
)
def test_one_look_says_how_bad_it_is(status: str | None, severity: str | None, sign: str) -> None:
    row = dict(CHANGE.after or {}) | {"status": status, "severity": severity}
    assert texts(row_message(msgspec.structs.replace(CHANGE, after=row)))[0].startswith(sign)


def test_a_row_without_a_title_is_called_by_its_type_and_one_without_columns_by_its_id() -> None:
    untitled = dict(CHANGE.after or {}) | {"title": " ", "url": None}
    assert texts(row_message(msgspec.structs.replace(CHANGE, after=untitled)))[0].endswith(
        "*open_anomaly_incident*"
    )

    thin = msgspec.structs.replace(CHANGE, truncated=True, changed=None, before=None, after=None)
    assert "*incident inc-1*\nis too large to be shown here" in texts(row_message(thin))[0]


def test_a_kind_of_tomorrow_has_a_message() -> None:
    assert (
        "*job j*"
        in texts(row_message(msgspec.structs.replace(CHANGE, kind="job", id="j", after={"x": 1})))[0]
    )


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "https://a|<!channel>",
        "https://a b",
        "https://a>",
        "https://a\n",
        "x",
        "",
        None,
        7,
    ],
)
def test_what_is_no_address_of_the_web_is_no_link(url: Any) -> None:
    row = dict(CHANGE.after or {}) | {"url": url}
    assert texts(row_message(msgspec.structs.replace(CHANGE, after=row)))[0] == (
        ":red_circle: *Has 42 rows vs. 101 expected*"
    )


# ---- the answer in the thread ----------------------------------------------------------------------------------------


def test_an_answer_says_what_each_column_was_and_is() -> None:
    change = changed(
        status=(None, "ACKNOWLEDGED"),
        owner=("dana@acme.example", None),
        resolved_at=(None, "2026-11-25T00:50:00+00:00"),
        entity_ids=(["a", "b"], ["b", "c", "d"]),
    )

    assert texts(change_answer(change))[0].splitlines() == [
        "status: none → ACKNOWLEDGED",
        "owner: dana@acme.example → none",
        "resolved at: none → 2026-11-25 00:50:00 UTC",
        "tables: 2 → 3 (+2, -1)",
    ]
    assert change_answer(change).text.startswith("status: none → ACKNOWLEDGED; owner: ")
    assert "revision 3" in texts(change_answer(change))[-1]


def test_an_answer_to_a_deletion_says_so() -> None:
    assert texts(change_answer(deleted()))[0] == "the incident was deleted"


def test_an_answer_invents_no_past() -> None:
    unsaid = msgspec.structs.replace(CHANGE, before=None)
    assert texts(change_answer(unsaid))[0] == "status: ACKNOWLEDGED"

    told_again = msgspec.structs.replace(CHANGE, changed=None, before=None, reemitted=True)
    lines = texts(change_answer(told_again))[0].splitlines()
    assert lines[:2] == ["changed; what it was before is not known", "status: ACKNOWLEDGED"]
    assert "→" not in "".join(lines)

    assert texts(change_answer(msgspec.structs.replace(CHANGE, changed=[], before={})))[0].startswith(
        "told again"
    )


def test_many_columns_are_counted_rather_than_listed() -> None:
    change = changed(**{f"column_{number:02}": (None, "x" * 5000) for number in range(40)})

    lines = texts(change_answer(change))[0].splitlines()
    assert lines[0].startswith("column 00: none → xxx")
    assert lines[-1] in ("…", "and 25 more columns")


# ---- what rows may hold ----------------------------------------------------------------------------------------------

ATTACKS = [
    "<!channel>",
    "<!here|x>",
    "<@U123>",
    "<#C123|general>",
    "<https://evil.example|log in>",
    "&lt;!channel&gt;",
    "@here @Channel @everyone",
    "a*b_c~d`e",
    "line\nline\r\n> quote",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_row_can_neither_call_anybody_nor_forge_a_link(attack: str) -> None:
    row = dict.fromkeys(COLUMNS["incident"], attack)
    change = msgspec.structs.replace(CHANGE, id=attack, changed=list(row), before=row, after=row)

    for message in (row_message(change), change_answer(change), row_message(deleted(change))):
        for text in (*texts(message), message.text):
            assert "<" not in text
            assert not re.search(r"&(?!amp;|lt;|gt;)", text)
            assert not re.search(r"@(here|channel|everyone)", text, re.IGNORECASE)


def test_slack_is_asked_to_read_nothing_into_a_text() -> None:
    for block in row_message(CHANGE).blocks:
        parts = [block["text"]] if "text" in block else block.get("fields", block.get("elements"))
        assert all(part["verbatim"] is True for part in parts)


VALUES = st.one_of(
    st.none(),
    st.text(max_size=40),
    st.sampled_from([*ATTACKS, "&" * 9000, "<" * 9000, "é" * 9000, "https://x/" + "&" * 4000]),
    st.integers(),
    st.lists(st.text(max_size=5), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
NAMES = st.one_of(st.sampled_from([*COLUMNS["incident"], *COLUMNS["entity"]]), st.text(max_size=20))
ROWS = st.dictionaries(NAMES, VALUES, max_size=30)


@given(
    kind=st.sampled_from(["incident", "entity", "job", "<&>" * 20]),
    op=st.sampled_from(["created", "updated", "deleted"]),
    row_id=st.one_of(st.text(min_size=1, max_size=30), st.just("&" * 4096)),
    before=st.none() | ROWS,
    after=ROWS,
    says_what=st.booleans(),
)
def test_whatever_a_row_holds_its_messages_are_within_slacks_limits(
    *, kind: str, op: Any, row_id: str, before: dict[str, Any] | None, after: dict[str, Any], says_what: bool
) -> None:
    change = msgspec.structs.replace(
        CHANGE,
        kind=kind,
        op=op,
        id=row_id,
        before=before,
        after=None if op == "deleted" else after,
        changed=list(after) if says_what and op == "updated" else None,
    )

    for message in (row_message(change), change_answer(change)):
        assert 0 < len(message.text) <= 3_000
        assert len(message.blocks) <= 50
        assert sum(map(len, texts(message))) <= 11_000
        for block in message.blocks:
            assert len(block.get("fields", ())) <= 10
            assert all(len(field["text"]) <= 2_000 for field in block.get("fields", ()))
        for text in texts(message):
            assert 0 < len(text) <= 3_000
            assert "<" not in MARKUP.sub("", text)
            assert ">" not in MARKUP.sub("", text)
        assert "<" not in message.text
