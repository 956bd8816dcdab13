"""The oracle passes what is right and finds each planted fault."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_atlan_meta.sandbox import expected_rows, oracle, stored_rows
from airflow_provider_atlan_meta.sandbox.expected_rows import (
    Webhook,
    canonical,
    event_id_of,
    expected_incident,
    subject_of,
    type_of,
)
from airflow_provider_atlan_meta.sandbox.oracle import Verdict, judge
from airflow_provider_atlan_meta.sandbox.stored_rows import ChangeMessage, Stored, StoredEvent, StoredRow
from airflow_provider_atlan_meta.testing.manifest import SentPost
from airflow_provider_atlan_meta.testing.webhooks import WebhookTenant, plan_webhooks

TENANTS = [
    WebhookTenant("acme", "first"),
    WebhookTenant("globex", "second"),
    WebhookTenant("initech", "third"),
]


def perfect() -> tuple[list[SentPost], Stored]:
    """A plan, answered as it should be, and the rows a faultless product would have written."""
    posts, stored = _perfect()
    return list(posts), stored


@cache
def _perfect() -> tuple[list[SentPost], Stored]:
    posts, events = [], []
    last: dict[tuple[str, str], UUID] = {}
    told: dict[tuple[str, str], list[Webhook]] = {}
    for seq, planned in enumerate(plan_webhooks(seed=3, count=120, tenants=TENANTS)):
        at = 1_795_000_000 + seq
        post = SentPost(
            run="test",
            seq=seq,
            tenant=planned.tenant,
            kind=planned.kind,
            subject=planned.subject,
            body=planned.body,
            expected_status=planned.expected_status,
            sent_at=at,
            answered_at=at + 0.02,
            status=planned.expected_status,
        )
        if planned.expected_status == 202:
            event_id = event_id_of(post.tenant, post.body)
            post = replace(post, ids=(str(event_id),))
            key = post.tenant, subject_of(post.tenant, post.body)
            told.setdefault(key, []).append(Webhook(post.tenant, post.body, at * 1000 + 10))
            events.append(
                StoredEvent(
                    tenant=post.tenant,
                    event_id=event_id,
                    subject=key[1],
                    source="montecarlo",
                    type=type_of(post.body),
                    received_at=at * 1000 + 10,
                    duplicate_of=_repeats(event_id, last.get(key), key[1]),
                    payload=post.body.decode(),
                    committed_at=at + 0.04,
                )
            )
            last[key] = event_id
        posts.append(post)
    return posts, _state(events, told)


def _repeats(event_id: UUID, previous: UUID | None, subject: str) -> UUID | None:
    """Only an incident has a webhook before this one."""
    return event_id if event_id == previous and not subject.startswith("event:") else None


def _state(events: list[StoredEvent], told: dict[tuple[str, str], list[Webhook]]) -> Stored:
    incidents, entities, links, messages = [], {}, set(), []
    for (tenant, subject), webhooks in told.items():
        if subject.startswith("event:"):
            continue
        expected = expected_incident(webhooks)
        incidents.append(
            StoredRow(tenant=tenant, id=subject, values=expected.values, revision=expected.revision)
        )
        messages += [ChangeMessage("incident", tenant, subject, n + 1) for n in range(expected.revision)]
        for entity, values in expected.entities.items():
            entities[tenant, entity] = StoredRow(tenant=tenant, id=str(entity), values=values, revision=1)
        links |= {(tenant, entity, subject) for entity in expected.values["entity_ids"]}
    messages += [ChangeMessage("entity", row.tenant, row.id, 1) for row in entities.values()]
    return Stored(
        events=events,
        incidents=incidents,
        entities=list(entities.values()),
        links=frozenset(links),
        messages=messages,
    )


def test_a_faultless_run_passes() -> None:
    posts, stored = perfect()
    verdict = judge(posts, stored)
    assert verdict.findings == []
    assert verdict.ok
    assert (verdict.expected, verdict.found, verdict.sent) == (len(stored.events), len(stored.events), 120)
    assert verdict.percentile(0.5, "test") == pytest.approx(40, abs=1)
    assert verdict.changes == len(stored.messages or ())


def judged(posts: list[SentPost], stored: Stored, **changes: Any) -> Verdict:
    return judge(posts, replace(stored, **changes))


def test_a_lost_row_is_found() -> None:
    posts, stored = perfect()
    verdict = judged(posts, stored, events=stored.events[:-1])
    assert (verdict.lost, verdict.ok) == (1, False)


def test_a_doubled_row_is_found() -> None:
    posts, stored = perfect()
    verdict = judged(posts, stored, events=[*stored.events, stored.events[10]])
    assert (verdict.duplicated, verdict.ok) == (1, False)


def test_a_row_that_nobody_sent_is_found() -> None:
    posts, stored = perfect()
    verdict = judged(
        posts, stored, events=[*stored.events, replace(stored.events[0], subject="somebody else's")]
    )
    assert (verdict.duplicated, verdict.ok) == (1, False)


@pytest.mark.parametrize("present", [True, False])
def test_a_duplicate_that_is_not_marked_or_wrongly_marked_is_found(present: bool) -> None:
    posts, stored = perfect()
    events = list(stored.events)
    index = next(i for i, row in enumerate(events) if (row.duplicate_of is not None) is present)
    events[index] = replace(events[index], duplicate_of=None if present else events[index].event_id)
    verdict = judged(posts, stored, events=events)
    assert "duplicate_of" in verdict.findings[0]


def test_a_wrong_answer_is_found() -> None:
    posts, stored = perfect()
    index = next(i for i, post in enumerate(posts) if post.expected_status == 401)
    posts[index] = replace(posts[index], status=202)
    assert "was answered 202 instead of 401" in judge(posts, stored).findings[0]


def test_a_wrong_event_id_in_an_answer_is_found() -> None:
    posts, stored = perfect()
    index = next(i for i, post in enumerate(posts) if post.accepted)
    posts[index] = replace(posts[index], ids=("0",))
    assert not judge(posts, stored).ok


@pytest.mark.parametrize(
    "column", ["status", "severity", "owner", "title", "resolved_at", "opened_at", "entity_ids"]
)
def test_a_wrong_incident_column_is_found(column: str) -> None:
    posts, stored = perfect()
    first = stored.incidents[0]
    broken = replace(first, values=first.values | {column: "something else"})
    verdict = judged(posts, stored, incidents=[broken, *stored.incidents[1:]])
    assert len(verdict.findings) == 1
    assert column in verdict.findings[0]


def test_one_row_version_too_many_is_an_excess_effect() -> None:
    posts, stored = perfect()
    first = stored.incidents[0]
    verdict = judged(
        posts, stored, incidents=[replace(first, revision=first.revision + 2), *stored.incidents[1:]]
    )
    assert (verdict.duplicated, verdict.lost, verdict.ok) == (2, 0, False)


def test_one_row_version_too_few_is_a_loss() -> None:
    posts, stored = perfect()
    first = stored.incidents[0]
    verdict = judged(
        posts, stored, incidents=[replace(first, revision=first.revision - 1), *stored.incidents[1:]]
    )
    assert (verdict.duplicated, verdict.lost) == (0, 1)


def test_missing_incidents_entities_and_links_are_found() -> None:
    posts, stored = perfect()
    assert judged(posts, stored, incidents=stored.incidents[1:]).lost == 1
    assert judged(posts, stored, entities=stored.entities[1:]).lost == 1
    assert not judged(posts, stored, links=frozenset(list(stored.links)[1:])).ok


def test_a_change_message_too_many_or_too_few_is_found() -> None:
    posts, stored = perfect()
    messages = list(stored.messages or ())
    assert judged(posts, stored, messages=[*messages, messages[0]]).duplicated == 1
    assert judged(posts, stored, messages=messages[1:]).lost == 1


def test_a_changed_payload_is_found() -> None:
    posts, stored = perfect()
    changed = json.dumps(json.loads(stored.events[0].payload) | {"extra": 1})
    verdict = judged(posts, stored, events=[replace(stored.events[0], payload=changed), *stored.events[1:]])
    assert "payload" in verdict.findings[0]


@pytest.mark.parametrize("took_effect", [True, False])
def test_an_unanswered_post_may_have_taken_effect_or_not(took_effect: bool) -> None:
    posts, _ = perfect()
    index = max(i for i, post in enumerate(posts) if post.kind == "resolved")
    silent = replace(posts[index], status=None, answered_at=None, ids=())
    kept = posts if took_effect else [post for i, post in enumerate(posts) if i != index]
    stored = _stored_of(kept)
    verdict = judge([*posts[:index], silent, *posts[index + 1 :]], stored)
    assert verdict.findings == []
    assert verdict.unanswered == 1


def test_an_unanswered_post_that_took_effect_twice_is_found() -> None:
    posts, stored = perfect()
    index = max(i for i, post in enumerate(posts) if post.kind == "resolved")
    posts[index] = replace(posts[index], status=None, answered_at=None, ids=())
    again = next(
        row for row in stored.events if row.event_id == event_id_of(posts[index].tenant, posts[index].body)
    )
    assert judged(posts, stored, events=[*stored.events, again]).duplicated == 1


def _stored_of(posts: list[SentPost]) -> Stored:
    """Rows of exactly these posts."""
    _, whole = perfect()
    kept = {(post.tenant, int(post.sent_at)) for post in posts if post.accepted}
    events: list[StoredEvent] = []
    told: dict[tuple[str, str], list[Webhook]] = {}
    last: dict[tuple[str, str], UUID] = {}
    for row in whole.events:
        if (row.tenant, row.received_at // 1000) in kept:
            key = row.tenant, row.subject
            duplicate_of = _repeats(row.event_id, last.get(key), row.subject)
            events.append(replace(row, duplicate_of=duplicate_of))
            told.setdefault(key, []).append(Webhook(row.tenant, row.payload.encode(), row.received_at))
            last[key] = row.event_id
    return _state(events, told)


def test_the_canonical_body_keeps_numbers_as_received_and_the_last_of_equal_keys() -> None:
    assert (
        canonical(b'{"b": 1.50E+3, "a": ["\\u00fc", true, null], "b": 2.0}')
        == '{"a":["ü",true,null],"b":2.0}'
    )


def told(**fields: Any) -> bytes:
    payload = {
        "incident_id": "i-1",
        "group_id": "db:raw",
        "event_list": [{"table_name": "t", "event_details": "late"}],
    }
    return json.dumps({"account": {"id": "a"}, "type": "open_x", "payload": payload | fields}).encode()


def test_an_incident_follows_its_webhooks_by_the_written_rules() -> None:
    bodies = [
        told(url="u"),
        told(alert_feedback="investigating", owner="dana@example.com"),
        told(alert_feedback="investigating", owner="dana@example.com"),  # the same again: nothing
        told(declared_alert_severity="SEV_1"),
        told(alert_feedback="fixed"),
        told(alert_feedback="no_status", declared_alert_severity=None, event_list=[]),
    ]
    after = [
        expected_incident([Webhook("acme", body, 1000 + n) for n, body in enumerate(bodies[: count + 1])])
        for count in range(len(bodies))
    ]
    assert [incident.revision for incident in after] == [1, 2, 2, 3, 4, 5]
    states = [(i.values["status"], i.values["severity"], i.values["resolved_at"]) for i in after]
    assert states == [
        (None, None, None),
        ("ACKNOWLEDGED", None, None),
        ("ACKNOWLEDGED", None, None),
        ("ACKNOWLEDGED", "SEV-1", None),
        ("FIXED", "SEV-1", 1004),
        (None, None, None),
    ]
    last = after[-1].values
    assert (last["owner"], last["url"], last["opened_at"]) == ("dana@example.com", "u", 1000)
    assert (last["title"], last["entity_ids"]) == ("late", ())
    assert after[0].values["title"] == "late"
    (entity,) = after[0].entities.values()
    assert entity["qualified_name"] == "mc:a:db:raw.t"
    assert (entity["database_name"], entity["schema_name"]) == ("db", "raw")


def test_each_revision_is_traced_to_the_post_that_made_it() -> None:
    posts, stored = perfect()
    verdict = judge(posts, stored)
    assert len(verdict.causes) == sum(row.revision for row in stored.incidents)
    for row in stored.incidents:
        mine = [verdict.causes[row.tenant, row.id, n] for n in range(1, row.revision + 1)]
        told = [post for post in posts if post.accepted and subject_of(post.tenant, post.body) == row.id]
        assert mine[0] is told[0]
        assert [post.sent_at for post in mine] == sorted(post.sent_at for post in mine)


def test_the_oracle_shares_no_code_with_what_it_judges() -> None:
    for module in (oracle, expected_rows, stored_rows):
        source = Path(str(module.__file__)).read_text()
        imported = re.findall(r"airflow_provider_atlan_meta\.(\w+)", source)
        assert set(imported) <= {"sandbox", "testing"}
