"""Whether changes are being captured: from what Kafka Connect says and what the database knows.

Connect alone does not know. While the database is away it says RUNNING; while a slot is lost it says RUNNING with no
tasks, for half an hour. So four things must hold together: the connector and every task run, there are tasks, the
slot is there, sound and in use, and it moves on (the connector's heartbeat writes into the log, so it always does).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

State = Literal["healthy", "stopped", "unhealthy", "lost"]
Severity = Literal["warning", "critical", "lost"]

_APPLY = "`atlan-meta capture apply` starts it again"
_RECOVER = (
    "changes since then are in no topic: `atlan-meta capture recover` makes a new slot and emits them again"
)
_WARN_SHARE, _ALARM_SHARE = 0.5, 0.2
_STOPPED = ("PAUSED", "STOPPED")


@dataclass(frozen=True, kw_only=True)
class TaskState:
    """One task as Connect sees it; ``trace`` is the first line of why it failed."""

    id: int
    state: str
    trace: str = ""


@dataclass(frozen=True, kw_only=True)
class ConnectorState:
    """A connector as Connect sees it: RUNNING, PAUSED, STOPPED, FAILED, UNASSIGNED or RESTARTING."""

    state: str
    tasks: tuple[TaskState, ...] = ()
    trace: str = ""


@dataclass(frozen=True, kw_only=True)
class SlotState:
    """The replication slot as the database sees it; positions are bytes of log since its beginning.

    :param confirmed: the connector has everything before.
    :param current: the log's end now.
    :param safe_bytes: what may still be written before the slot is lost; None: no limit is set.
    :param limit_bytes: ``max_slot_wal_keep_size``; None: none is set.
    :param wait_event: what the session that reads the slot waits for.
    """

    active: bool
    wal_status: str
    confirmed: int | None
    restart: int | None
    current: int
    safe_bytes: int | None = None
    limit_bytes: int | None = None
    invalidation_reason: str = ""
    wait_event: str = ""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One look. The slot is looked at before the offset, so the slot can only be behind it.

    :param at: seconds on any steady clock.
    :param connect_error, store_error: why one of the two could not be asked; what it would have said is then unknown.
    :param captured: position of the last offset Connect has stored; None: it has none.
    :param captured_at: the database's time there, seconds since 1970.
    :param owed_since: a recovery began and did not end: changes since then are still to be emitted again.
    """

    at: float
    connector: ConnectorState | None = None
    slot: SlotState | None = None
    captured: int | None = None
    captured_at: float | None = None
    owed_since: str = ""
    connect_error: str = ""
    store_error: str = ""


class Finding(NamedTuple):
    """What is wrong, and what to do."""

    code: str
    severity: Severity
    text: str
    cure: str


@dataclass(frozen=True, kw_only=True)
class CaptureHealth:
    """:param lag_bytes: written to the log and not captured yet.
    :param retained_bytes: log the database keeps on disk for the slot.
    """

    state: State
    findings: tuple[Finding, ...] = ()
    lag_bytes: int | None = None
    retained_bytes: int | None = None
    captured_at: float | None = None

    @property
    def is_healthy(self) -> bool:
        return self.state == "healthy"

    @property
    def is_lost(self) -> bool:
        return self.state == "lost"

    def has(self, code: str) -> bool:
        return any(finding.code == code for finding in self.findings)

    def describe(self) -> str:
        """One line per finding, with its cure."""
        lines = [f"{finding.code}: {finding.text}; {finding.cure}" for finding in self.findings]
        return "\n".join([self.state, *lines])


def judge(now: Observation, earlier: Observation | None = None) -> CaptureHealth:
    """:param earlier: an older look; without one nobody can say that the slot moves, so it is not healthy."""
    findings = [*_reachable(now), *_connector(now), *_slot(now)]
    if not any(finding.severity != "warning" for finding in findings):
        findings += _progress(now, earlier)
    slot = now.slot
    return CaptureHealth(
        state=_state(findings),
        findings=tuple(findings),
        lag_bytes=None if slot is None or slot.confirmed is None else max(slot.current - slot.confirmed, 0),
        retained_bytes=None if slot is None or slot.restart is None else max(slot.current - slot.restart, 0),
        captured_at=now.captured_at,
    )


def _state(findings: list[Finding]) -> State:
    severities = {finding.severity for finding in findings}
    if "lost" in severities:
        return "lost"
    if any(finding.code == "connector_stopped" for finding in findings):
        return "stopped"
    return "unhealthy" if "critical" in severities else "healthy"


def _reachable(now: Observation) -> Iterator[Finding]:
    if now.connect_error:
        yield Finding("connect_away", "critical", now.connect_error, "start the Connect workers")
    if now.store_error:
        text = f"{now.store_error}. Connect goes on saying RUNNING"
        yield Finding("database_away", "critical", text, "start it: the connector goes on by itself")


def _connector(now: Observation) -> Iterator[Finding]:
    connector = now.connector
    if now.connect_error:
        return
    if now.owed_since:
        text = f"a recovery was interrupted: changes since {now.owed_since} are not emitted again yet"
        yield Finding("recovery_unfinished", "lost", text, "`atlan-meta capture recover` goes on with it")
    if connector is None:
        yield Finding("connector_missing", "critical", "Connect does not know the connector", _APPLY)
        return
    if connector.state in _STOPPED:
        yield Finding(
            "connector_stopped",
            "critical",
            f"it is {connector.state}; the database keeps its log for it",
            _APPLY,
        )
        return
    if connector.state != "RUNNING":
        text = f"the connector is {connector.state}: {connector.trace or 'no reason given'}"
        yield Finding("connector_not_running", "critical", text, _APPLY)
    if not connector.tasks:
        text = "the connector is RUNNING and has no task: it waits for the database or its slot"
        yield Finding("no_tasks", "critical", text, "see what else is found; else the worker's log")
    for task in connector.tasks:
        if task.state != "RUNNING":
            text = f"task {task.id} is {task.state}: {task.trace or 'no reason given'}"
            yield Finding("task_not_running", "critical", text, _APPLY)


def _slot(now: Observation) -> Iterator[Finding]:
    slot = now.slot
    if now.store_error:
        return
    if slot is None:
        if now.captured is None:
            yield Finding("slot_missing", "critical", "there is no replication slot yet", _APPLY)
        else:
            yield Finding("slot_dropped", "lost", "the replication slot was dropped", _RECOVER)
        return
    if slot.wal_status == "lost" or slot.invalidation_reason:
        why = slot.invalidation_reason or "log it needs was removed"
        yield Finding("slot_lost", "lost", f"the replication slot is lost ({why})", _RECOVER)
        return
    if slot.confirmed is not None and now.captured is not None and slot.confirmed > now.captured:
        text = f"the slot is {slot.confirmed - now.captured} bytes of log ahead of the connector: it was made anew"
        yield Finding("slot_ahead", "lost", text, _RECOVER)
        return
    if not slot.active:
        yield Finding("slot_inactive", "critical", "nobody reads the replication slot", _APPLY)
    if slot.wait_event == "WaitForStandbyConfirmation":
        text = "the database waits for a standby that does not confirm"
        yield Finding("standby_awaited", "critical", text, "alter system reset synchronized_standby_slots")
    yield from _room(slot)


def _room(slot: SlotState) -> Iterator[Finding]:
    if slot.wal_status == "unreserved":
        share = 0.0
    elif slot.safe_bytes is None or not slot.limit_bytes:
        return
    else:
        share = slot.safe_bytes / slot.limit_bytes
    if share < _WARN_SHARE:
        severity: Severity = "critical" if share < _ALARM_SHARE else "warning"
        text = f"{max(share, 0):.0%} of max_slot_wal_keep_size is left before the slot is lost"
        yield Finding(
            "slot_near_limit", severity, text, "find out why the connector is behind, or raise the limit"
        )


def _progress(now: Observation, earlier: Observation | None) -> Iterator[Finding]:
    before = earlier.slot if earlier is not None else None
    slot = now.slot
    if slot is None or slot.confirmed is None:
        yield Finding("no_progress", "critical", "the slot has no position", "see the worker's log")
    elif earlier is None or before is None or before.confirmed is None:
        yield Finding("no_progress", "critical", "one look cannot tell whether the slot moves", "look again")
    elif slot.confirmed <= before.confirmed:
        text = f"the slot has not moved for {now.at - earlier.at:.1f} s, {slot.current - slot.confirmed} bytes behind"
        yield Finding("no_progress", "critical", text, "restart the connector; else see the worker's log")
