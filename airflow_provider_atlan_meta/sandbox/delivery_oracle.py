"""Did everybody who asked hear of every change exactly once? Judges the calls receivers got, and nothing of ours.

A webhook is called once per change, in the order of revisions, under the delivery's own id. A chat holds one message
per incident that says its last state, and in its thread one answer per later change.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from airflow_provider_atlan_meta.sandbox.expected_deliveries import (
    MAIN,
    SLACK,
    THREAD,
    WEBHOOK,
    Asked,
    Expected,
    Lane,
    Told,
    change_id_of,
    expected_deliveries,
)
from airflow_provider_atlan_meta.sandbox.received_calls import Shown, SlackMessage, WebhookCall
from airflow_provider_atlan_meta.testing.manifest import SentPost

_TITLE_SHOWN = 60
_STATUSES = (
    "acknowledged",
    "work in progress",
    "fixed",
    "expected",
    "no action needed",
    "false positive",
)

Causes = Mapping[tuple[str, str, int], SentPost]


@dataclass(frozen=True)
class Reported:
    """What the product itself owns up to.

    :param skipped: deliveries folded into a newer state. :param doubles: delivery -> doubles it took away again.
    """

    skipped: Collection[str] = frozenset()
    doubles: Mapping[str, int] = field(default_factory=dict)


class Received(NamedTuple):
    """What came, and in whose words it is excused."""

    webhooks: Sequence[WebhookCall]
    messages: Sequence[SlackMessage]
    reported: Reported = Reported()


@dataclass
class DeliveryVerdict:
    """:param deliveries: type -> deliveries that were made.
    :param lost: deliveries without an effect, incidents whose last state is not shown.
    :param duplicated: excess effects. :param folded: skipped steps and doubles, both as reported.
    :param latency_ms: type -> run -> from the post to the call for the change it caused; of Slack, to the message.
    :param shown_at: run -> when the last of its incidents was shown in its last state.
    """

    deliveries: dict[str, int] = field(default_factory=lambda: {SLACK: 0, WEBHOOK: 0})
    incidents_shown: int = 0
    lost: int = 0
    duplicated: int = 0
    folded: int = 0
    reordered: int = 0
    findings: list[str] = field(default_factory=list)
    latency_ms: dict[str, dict[str, list[float]]] = field(default_factory=lambda: {SLACK: {}, WEBHOOK: {}})
    shown_at: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not (self.lost or self.duplicated or self.reordered or self.findings)


def judge_deliveries(
    changes: Sequence[Told], asked: Sequence[Asked], received: Received, causes: Causes
) -> DeliveryVerdict:
    """:param changes: every message of the changes topic. :param causes: see ``Verdict.causes``."""
    verdict = DeliveryVerdict()
    for told in changes:
        if told.change_id != change_id_of(told):
            verdict.findings.append(f"{_name(told)}: its change_id is {told.change_id}")
    expected = expected_deliveries(changes, asked)
    by_type: dict[str, dict[str, Expected]] = {WEBHOOK: {}, SLACK: {}}
    for name, one in expected.items():
        by_type[one.asked.destination][name] = one
    _Webhooks(verdict, by_type[WEBHOOK], causes).judge(received.webhooks)
    _Slack(verdict, by_type[SLACK], received.reported, causes).judge(received.messages)
    return verdict


def _name(told: Told) -> str:
    return f"{told.tenant}/{told.kind} {told.id} revision {told.revision}"


def _latency(verdict: DeliveryVerdict, one: Expected, causes: Causes, at: float) -> None:
    post = causes.get((one.told.tenant, one.told.id, one.told.revision))
    if post is not None and one.told.kind == "incident":
        runs = verdict.latency_ms[one.asked.destination]
        runs.setdefault(post.run, []).append((at - post.sent_at) * 1000)


@dataclass(frozen=True)
class _Webhooks:
    verdict: DeliveryVerdict
    expected: Mapping[str, Expected]
    causes: Causes

    def judge(self, calls: Sequence[WebhookCall]) -> None:
        verdict = self.verdict
        seen: Counter[str] = Counter()
        newest: dict[Lane, int] = {}
        for call in calls:
            one = self.expected.get(call.id)
            if one is None:
                verdict.duplicated += 1
                verdict.findings.append(
                    f"webhook {call.id} of {call.event.get('subject')}: nobody asked for it"
                )
                continue
            seen[call.id] += 1
            verdict.findings += [f"webhook of {_name(one.told)}: {problem}" for problem in _wrong(call, one)]
            if seen[call.id] == 1:
                _latency(verdict, one, self.causes, call.at)
            if one.told.revision < newest.get(one.lane, 0):
                verdict.reordered += 1
                verdict.findings.append(
                    f"webhook of {_name(one.told)}: came after revision {newest[one.lane]}"
                )
            newest[one.lane] = max(newest.get(one.lane, 0), one.told.revision)
        verdict.deliveries[WEBHOOK] = len(seen)
        for name, times in seen.items():
            if times > 1:
                verdict.duplicated += times - 1
                verdict.findings.append(f"webhook of {_name(self.expected[name].told)}: sent {times} times")
        for name in self.expected.keys() - seen.keys():
            verdict.lost += 1
            verdict.findings.append(f"webhook of {_name(self.expected[name].told)}: never sent")


def _wrong(call: WebhookCall, one: Expected) -> Iterator[str]:
    """What the call says otherwise than the change."""
    yield from call.problems
    told, event = one.told, call.event
    says = {
        "specversion": "1.0",
        "id": told.change_id,
        "type": f"com.atlan.meta.{told.kind}.{told.op}.v1",
        "subject": told.id,
        "tenantid": told.tenant,
        "entitykind": told.kind,
    }
    for field_, value in says.items():
        if event.get(field_) != value:
            yield f"{field_} is {event.get(field_)!r}, not {value!r}"
    if not str(event.get("entityversion")).isdecimal() or int(event["entityversion"]) != told.revision:
        yield f"entityversion is {event.get('entityversion')!r}, not {told.revision}"
    data = event.get("data") or {}
    if told.row and (data.get("after") or data.get("before")) != told.row:
        yield "its data is not the row of the change"


class _Slack:
    """One subscription's incidents, one after the other.

    What posted a message is in its metadata; which change it shows since is in what it says, for every reader to see.
    """

    def __init__(
        self, verdict: DeliveryVerdict, expected: Mapping[str, Expected], reported: Reported, causes: Causes
    ) -> None:
        self.verdict, self.expected, self.reported, self.causes = verdict, expected, reported, causes
        self.lanes: dict[Lane, list[Expected]] = defaultdict(list)
        for one in expected.values():
            self.lanes[one.lane].append(one)

    def judge(self, messages: Sequence[SlackMessage]) -> None:
        held: dict[Lane, list[SlackMessage]] = defaultdict(list)
        for message in messages:
            one = self.expected.get(message.delivery_id)
            if one is not None and one.part == (THREAD if message.thread_ts else MAIN):
                held[one.lane].append(message)
            else:
                self._excess(1, f"message {message.channel}/{message.ts}: nobody asked for it")
        for lane, expected in self.lanes.items():
            if lane.part == MAIN:
                kept = self._judge_message(expected, held[lane])
                thread = lane._replace(part=THREAD)
                if kept is not None and thread in self.lanes:
                    self._judge_thread(self.lanes[thread], held[thread], kept)

    def _excess(self, number: int, finding: str) -> None:
        self.verdict.duplicated += number
        self.verdict.findings.append(finding)

    def _missing(self, finding: str) -> None:
        self.verdict.lost += 1
        self.verdict.findings.append(finding)

    def _judge_message(
        self, expected: Sequence[Expected], messages: Sequence[SlackMessage]
    ) -> SlackMessage | None:
        """The one message of an incident; None: there is none."""
        last, verdict = expected[-1], self.verdict
        incident = f"Slack's message of {last.told.tenant}/{last.told.id}"
        if not messages:
            self._missing(f"{incident}: was never posted")
            return None
        kept = self._once(incident, messages, [one.id for one in expected])
        if kept.channel != last.asked.channel:
            verdict.findings.append(f"{incident}: stands in {kept.channel}, not in {last.asked.channel}")
        steps = [(_said(shown.text, expected), shown) for shown in kept.shown]
        self._judge_steps(incident, expected, steps)
        final, shown = steps[-1]
        if final is not last:
            now = final.told.revision if final else "of something else"
            self._missing(f"{incident}: shows revision {now}, not {last.told.revision}")
            return kept
        verdict.incidents_shown += 1
        verdict.findings += [
            f"{incident}: {problem}" for problem in _contradictions(shown.text, last.told.row)
        ]
        post = self.causes.get((last.told.tenant, last.told.id, last.told.revision))
        if post is not None:
            first = next(shown.at for one, shown in steps if one is last)
            verdict.shown_at[post.run] = max(first, verdict.shown_at.get(post.run, 0.0))
        return kept

    def _once(self, name: str, messages: Sequence[SlackMessage], ids: Sequence[str]) -> SlackMessage:
        """The message that counts. Others are doubles, unless they were taken away again and that is reported."""
        kept = [message for message in messages if not message.is_removed] or list(messages[-1:])
        removed = len(messages) - len(kept)
        excused = min(removed, sum(self.reported.doubles.get(one, 0) for one in ids))
        self.verdict.folded += excused
        if excess := len(messages) - 1 - excused:
            self._excess(excess, f"{name}: is there {len(messages)} times, {excused} reported as folded")
        if kept[0].is_removed:
            self._missing(f"{name}: was taken away")
        return kept[0]

    def _judge_steps(self, name: str, expected: Sequence[Expected], steps: Sequence[_Step]) -> None:
        """Every state was shown once, in order, or is reported as folded into a later one."""
        times = Counter(one.id for one, _ in steps if one is not None)
        for one in expected:
            if not times[one.id]:
                if one.id in self.reported.skipped:
                    self.verdict.folded += 1
                elif one is not expected[-1]:  # that one is judged by what is shown in the end
                    self._missing(f"{name}: revision {one.told.revision} was never shown")
                continue
            self.verdict.deliveries[SLACK] += 1
            first = next(shown for said, shown in steps if said is one)
            _latency(self.verdict, one, self.causes, first.at)
            if (excess := times[one.id] - 1) > 0:
                self._excess(excess, f"{name}: revision {one.told.revision} was shown {excess + 1} times")
        revisions = [one.told.revision for one, _ in steps if one is not None]
        if revisions != sorted(revisions):
            self.verdict.reordered += 1
            self.verdict.findings.append(f"{name}: showed revisions in the order {revisions}")

    def _judge_thread(
        self, expected: Sequence[Expected], answers: Sequence[SlackMessage], message: SlackMessage
    ) -> None:
        verdict = self.verdict
        by_id: dict[str, list[SlackMessage]] = defaultdict(list)
        for answer in answers:
            by_id[answer.delivery_id].append(answer)
        order = []
        for one in expected:
            name = f"answer in Slack's thread of {_name(one.told)}"
            found = by_id[one.id]
            if not found:
                if one.id in self.reported.skipped:
                    verdict.folded += 1
                else:
                    self._missing(f"{name}: was never posted")
                continue
            kept = self._once(name, found, [one.id])
            verdict.deliveries[SLACK] += 1
            order.append(kept.shown[0].at)
            if (kept.channel, kept.thread_ts) != (message.channel, message.ts):
                verdict.findings.append(f"{name}: stands in another thread")
        if order != sorted(order):
            verdict.reordered += 1
            verdict.findings.append(f"Slack's thread of {_name(expected[0].told)}: answers are out of order")


# What a message said, and which of its incident's changes that was.
_Step = tuple[Expected | None, Shown]


def _said(text: str, expected: Sequence[Expected]) -> Expected | None:
    return next((one for one in expected if one.told.change_id in text), None)


def _contradictions(text: str, row: Mapping[str, Any]) -> Iterator[str]:
    """What a reader of the message would be told wrongly; of a row that nobody knows any more, nothing."""
    if not row:
        return
    said, title = _plain(text), _plain(row["title"] or "")[:_TITLE_SHOWN]
    if title not in said:
        yield f"does not show the title {title!r}"
    rest = said
    for told in filter(None, (_plain(row["title"] or ""), title)):
        rest = rest.replace(told, " ")
    status = _plain(row["status"] or "")
    if status and status not in rest:
        yield f"does not show the status {status!r}"
    others = [other for other in _STATUSES if other != status and other in rest]
    if others:
        yield f"shows the status {others[0]!r}, not {status or None!r}"
    if row["severity"] and _plain(row["severity"]) not in rest:
        yield f"does not show the severity {row['severity']!r}"


def _plain(text: str) -> str:
    """As a reader compares it: no markup, no case, single spaces."""
    bare = "".join(" " if character in "*_`~\n\t" else character for character in text)
    return " ".join(bare.casefold().split())
