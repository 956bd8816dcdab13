"""Was anything lost or doubled? Judges what is stored by the manifest of what was sent, and by nothing else.

Posts without an answer may be there once or not at all: both are tried. Order within an incident is the order
of its posts; ``received_at``, which only the rows know, must agree with it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Any
from uuid import UUID

from airflow_provider_atlan_meta.sandbox.expected_rows import (
    Webhook,
    canonical,
    event_id_of,
    expected_incident,
    subject_of,
    type_of,
)
from airflow_provider_atlan_meta.sandbox.stored_rows import ChangeMessage, Stored, StoredEvent, StoredRow
from airflow_provider_atlan_meta.testing.manifest import SentPost

_COMBINATIONS_MAX = 4096
_CLOCK_SLACK_MS = 50


@dataclass
class Verdict:
    """:param expected: event rows that must be there.
    :param lost: expected rows that are not there, and changes that left no trace.
    :param duplicated: excess effects: event rows, row versions, change messages.
    :param findings: everything wrong, in words; the first ones say most.
    :param post_to_row_ms: by run.
    :param causes: (tenant, incident, revision) -> the post that made this revision.
    """

    sent: int = 0
    accepted: int = 0
    unanswered: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    expected: int = 0
    found: int = 0
    lost: int = 0
    duplicated: int = 0
    incidents: int = 0
    changes: int | None = None
    dead_letters: int = 0
    findings: list[str] = field(default_factory=list)
    post_to_row_ms: dict[str, list[float]] = field(default_factory=dict)
    causes: dict[tuple[str, str, int], SentPost] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not (self.lost or self.duplicated or self.findings)

    def percentile(self, share: float, run: str) -> float | None:
        """Of the time from a post of ``run`` to its committed row, in milliseconds."""
        return percentile(self.post_to_row_ms.get(run, ()), share)


def percentile(values: Iterable[float], share: float) -> float | None:
    """None where there are no values."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1) if ordered else None


@dataclass
class _Subject:
    """One incident's posts against its rows; several readings compete where posts were not answered."""

    expected: int = 0
    lost: int = 0
    duplicated: int = 0
    findings: list[str] = field(default_factory=list)
    latencies: list[tuple[str, float]] = field(default_factory=list)
    entities: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    linked: tuple[UUID, ...] = ()
    causes: list[SentPost] = field(default_factory=list)

    @property
    def revision(self) -> int:
        return len(self.causes)

    @property
    def badness(self) -> int:
        return self.lost + self.duplicated + len(self.findings)


def judge(posts: Sequence[SentPost], stored: Stored) -> Verdict:
    """The whole truth about the tenants of ``posts``: rows that nobody sent count as doubled."""
    verdict = Verdict(
        sent=len(posts),
        accepted=sum(post.accepted for post in posts),
        unanswered=sum(post.status is None for post in posts),
        answers=dict(Counter("none" if post.status is None else str(post.status) for post in posts)),
        found=len(stored.events),
        incidents=len(stored.incidents),
        dead_letters=stored.dead_letters,
    )
    verdict.findings += _wrong_answers(posts)
    rows: dict[tuple[str, str], list[StoredEvent]] = defaultdict(list)
    for row in stored.events:
        rows[row.tenant, row.subject].append(row)
    incidents = {(row.tenant, row.id): row for row in stored.incidents}
    subjects = {
        key: _best_reading(sent, rows.pop(key, []), incidents.pop(key, None))
        for key, sent in _by_subject(posts).items()
    }
    for (tenant, name), subject in subjects.items():
        verdict.causes |= {(tenant, name, n): post for n, post in enumerate(subject.causes, 1)}
        verdict.expected += subject.expected
        verdict.lost += subject.lost
        verdict.duplicated += subject.duplicated
        verdict.findings += subject.findings
        for run, latency in subject.latencies:
            verdict.post_to_row_ms.setdefault(run, []).append(latency)
    for (tenant, name), left in rows.items():
        verdict.duplicated += len(left)
        verdict.findings.append(f"{tenant}/{name}: {len(left)} event rows of a subject nobody sent")
    for tenant, name in incidents:
        verdict.duplicated += 1
        verdict.findings.append(f"{tenant}/{name}: an incident row nobody caused")
    _judge_entities(verdict, subjects, stored)
    _judge_messages(verdict, subjects, stored)
    return verdict


def _wrong_answers(posts: Sequence[SentPost]) -> Iterator[str]:
    for post in posts:
        where = f"post {post.run}#{post.seq} ({post.tenant}, {post.kind})"
        if not post.indeterminate and post.status not in (post.expected_status, 429):
            yield f"{where} was answered {post.status} instead of {post.expected_status}"
        elif post.accepted and post.ids != (str(event_id_of(post.tenant, post.body)),):
            yield f"{where} was answered with the ids {list(post.ids)}"


def _by_subject(posts: Sequence[SentPost]) -> Mapping[tuple[str, str], list[SentPost]]:
    """Posts that may have left a row, in the order they were sent."""
    subjects: dict[tuple[str, str], list[SentPost]] = defaultdict(list)
    for post in posts:
        if post.expected_status == 202 and (post.accepted or post.indeterminate):
            subjects[post.tenant, subject_of(post.tenant, post.body)].append(post)
    return subjects


def _best_reading(
    sent: Sequence[SentPost], rows: Sequence[StoredEvent], incident: StoredRow | None
) -> _Subject:
    """The reading with the fewest contradictions: each unanswered post took effect or did not."""
    doubtful = [index for index, post in enumerate(sent) if not post.accepted]
    took_effect = min(max(len(rows) - (len(sent) - len(doubtful)), 0), len(doubtful))
    best: _Subject | None = None
    for chosen in islice(combinations(doubtful, took_effect), _COMBINATIONS_MAX):
        present = [post for index, post in enumerate(sent) if post.accepted or index in chosen]
        reading = _compare(present, rows, incident)
        if best is None or reading.badness < best.badness:
            best = reading
        if not best.badness:
            break
    return best or _Subject()


def _compare(
    present: Sequence[SentPost], rows: Sequence[StoredEvent], incident: StoredRow | None
) -> _Subject:
    subject = _Subject(expected=len(present))
    waiting: dict[UUID, list[StoredEvent]] = defaultdict(list)
    for stored in sorted(rows, key=lambda stored: stored.received_at):
        waiting[stored.event_id].append(stored)
    webhooks = []
    previous: UUID | None = None
    clock = 0
    for post in present:
        event_id = event_id_of(post.tenant, post.body)
        row = waiting[event_id].pop(0) if waiting[event_id] else None
        if row is None:
            subject.lost += 1
            subject.findings.append(f"{_name(post)}: no event row")
        else:
            again = event_id == previous and not row.subject.startswith("event:")
            subject.findings += _row_findings(post, row, event_id if again else None, clock)
            clock = row.received_at
            if post.accepted and row.committed_at is not None:
                subject.latencies.append((post.run, (row.committed_at - post.sent_at) * 1000))
        webhooks.append(Webhook(post.tenant, post.body, row.received_at if row else int(post.sent_at * 1000)))
        previous = event_id
    for left in waiting.values():
        subject.duplicated += len(left)
        subject.findings += [
            f"{row.tenant}/{row.subject}: one event row too many of {row.event_id}" for row in left
        ]
    _judge_incident(subject, webhooks, present, incident)
    return subject


def _name(post: SentPost) -> str:
    return f"{post.tenant}/{subject_of(post.tenant, post.body)} ({post.run}#{post.seq}, {post.kind})"


def _row_findings(post: SentPost, row: StoredEvent, duplicate_of: UUID | None, clock: int) -> Iterator[str]:
    if row.duplicate_of != duplicate_of:
        yield f"{_name(post)}: duplicate_of is {row.duplicate_of}, not {duplicate_of}"
    if (row.source, row.type) != ("montecarlo", type_of(post.body)):
        yield f"{_name(post)}: source and type are {row.source}, {row.type}"
    if canonical(row.payload.encode()) != canonical(post.body):
        yield f"{_name(post)}: the payload is not what was sent"
    if row.received_at < clock:
        yield f"{_name(post)}: received before the post that was sent before it"
    latest = (post.answered_at or float("inf")) * 1000 + _CLOCK_SLACK_MS
    if not post.sent_at * 1000 - _CLOCK_SLACK_MS <= row.received_at <= latest:
        yield f"{_name(post)}: received_at {row.received_at} is not between the post and its answer"


def _judge_incident(
    subject: _Subject, webhooks: Sequence[Webhook], posts: Sequence[SentPost], row: StoredRow | None
) -> None:
    if not webhooks or subject_of(webhooks[0].tenant, webhooks[0].body).startswith("event:"):
        if row is not None:
            subject.duplicated += 1
            subject.findings.append(f"{row.tenant}/{row.id}: an incident row nobody caused")
        return
    expected = expected_incident(webhooks)
    subject.entities, subject.linked = expected.entities, expected.values["entity_ids"]
    subject.causes = [posts[place] for place in expected.causes]
    name = f"{webhooks[0].tenant}/{subject_of(webhooks[0].tenant, webhooks[0].body)}"
    if row is None:
        subject.lost += 1
        subject.findings.append(f"{name}: no incident row")
        return
    for column, value in expected.values.items():
        if row.values[column] != value:
            subject.findings.append(f"{name}: {column} is {row.values[column]!r}, expected {value!r}")
    if not row.unconfirmed:
        subject.findings.append(f"{name}: not marked unconfirmed")
    _judge_revision(subject, name, row.revision, expected.revision)


def _judge_revision(target: _Subject | Verdict, name: str, revision: int, expected: int) -> None:
    if revision != expected:
        target.duplicated += max(0, revision - expected)
        target.lost += max(0, expected - revision)
        target.findings.append(f"{name}: revision {revision} after {expected} effective changes")


def _judge_entities(verdict: Verdict, subjects: Mapping[tuple[str, str], _Subject], stored: Stored) -> None:
    expected = {
        (tenant, str(entity_id)): values
        for (tenant, _), subject in subjects.items()
        for entity_id, values in subject.entities.items()
    }
    for row in stored.entities:
        name = f"{row.tenant}/entity {row.id}"
        if row.values != expected.pop((row.tenant, row.id), None):
            verdict.findings.append(f"{name}: {row.values} was not expected")
        _judge_revision(verdict, name, row.revision, 1)
    for tenant, entity_id in expected:
        verdict.lost += 1
        verdict.findings.append(f"{tenant}/entity {entity_id}: no row")
    links = {
        (tenant, e, incident) for (tenant, incident), subject in subjects.items() for e in subject.linked
    }
    if links != stored.links:
        missing, excess = len(links - stored.links), len(stored.links - links)
        verdict.findings.append(f"incident_entity: {missing} links are missing, {excess} too many")


def _judge_messages(verdict: Verdict, subjects: Mapping[tuple[str, str], _Subject], stored: Stored) -> None:
    """Each revision of each row is told exactly once."""
    if stored.messages is None:
        return
    verdict.changes = len(stored.messages)
    told = Counter(stored.messages)
    expected = [
        ChangeMessage("incident", tenant, incident, revision)
        for (tenant, incident), subject in subjects.items()
        for revision in range(1, subject.revision + 1)
    ]
    entities = {(tenant, str(e)) for (tenant, _), subject in subjects.items() for e in subject.entities}
    expected += [ChangeMessage("entity", tenant, entity_id, 1) for tenant, entity_id in entities]
    excess, missing = told - Counter(expected), Counter(expected) - told
    verdict.duplicated += excess.total()
    verdict.lost += missing.total()
    verdict.findings += [f"change told {n} times too often: {change}" for change, n in excess.items()]
    verdict.findings += [f"change not told: {change}" for change in missing]
