"""How the rows of PostgreSQL stand in a store that follows them, and what each answer of the store means.

Decisions only. A row is dirty while its revision, or its tombstone's, is above what was projected. Whoever is about
to write a row *claims* it; what the store answered is *settled*, and counts only if nobody else touched the row's
standing since the claim: else the row is dirty again. So two workers at one row end in one more write, never in an
older row for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

import msgspec

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.rows import DeadLetter
from airflow_provider_atlan_meta.core.stores import Landed, Landing, RowRef, StateRow

# An effect may come this long after its answer was given up.
UNKNOWN_SECONDS = 60.0
# A write that was begun and never settled: its worker is gone, its effect may still come. From the claim to the last
# send of a batch pass at most 15 s.
CLAIM_SECONDS = UNKNOWN_SECONDS + 15.0
RETRY_SECONDS = (5.0, 15.0, 45.0, 135.0, 300.0)

_encode = msgspec.json.Encoder(order="deterministic").encode


class Standing(NamedTuple):
    """How a row stands in a store.

    :param content_hash: of what the store has; None: not known for certain, so the row is written whatever it is.
    :param version: moves whenever anybody touches the standing; 0: there is none.
    :param claim_left: seconds until a write that somebody began and did not settle may be taken for dead.
    """

    projected_revision: int = 0
    content_hash: int | None = None
    version: int = 0
    attempts: int = 0
    claim_left: float = 0.0


class Candidate(NamedTuple):
    """A row as PostgreSQL has it now. Revision 0: it is neither there nor buried."""

    row: StateRow
    standing: Standing


class Settlement(NamedTuple):
    """What becomes of a row's standing, and of the claim on it.

    :param version: it counts only while the standing has this one; else the row is due again, and not before
        ``retry_seconds``.
    :param projected_revision: 0: as it was.
    :param external_id: empty: as it was.
    :param retry_seconds: the row is looked at again then; None: only when it changes.
    :param is_rejected: this revision is a dead letter of the store, for ``reason``.
    """

    ref: RowRef
    version: int
    projected_revision: int = 0
    content_hash: int | None = None
    external_id: str = ""
    attempts: int = 0
    retry_seconds: float | None = None
    reason: str = ""
    is_rejected: bool = False


class Sweep(NamedTuple):
    """One look at everything that changed since an earlier one. The ledger's own; both in its database's terms.

    :param since: None: everything there is.
    :param settled: where the next sweep may begin, once this one came to its end.
    """

    since: Any = None
    settled: Any = None


class ProjectionLedger(Protocol):
    """How every row stands in one store, on the database's clock. Not thread-safe."""

    def begin_sweep(self) -> Sweep: ...

    def dirty(self, sweep: Sweep, size: int) -> Iterator[list[RowRef]]:
        """Pages of at most ``size`` rows, each read when it is asked for. Rows that wait for a retry are left out."""
        ...

    def finish_sweep(self, sweep: Sweep) -> None:
        """Every row of every page was settled or deferred: the next sweep need not look so far back."""
        ...

    def due(self, limit: int) -> list[RowRef]:
        """Rows whose retry is due, the longest waiting first."""
        ...

    def read(self, refs: Sequence[RowRef]) -> list[Candidate]:
        """As they are now, in the order of ``refs``."""
        ...

    def claim(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those whose standing is still as it was read, with the version their settlement needs.

        From now on their content in the store is unknown, whatever becomes of this process.
        """
        ...

    def settle(self, settlements: Sequence[Settlement]) -> None: ...

    def defer(self, rows: Sequence[tuple[RowRef, float]]) -> None:
        """Somebody else is at them: they are due in so many seconds, or when they already are."""
        ...

    def mark_dirty(self, refs: Sequence[RowRef]) -> None:
        """The store is known to have something else: they are written again, changed or not."""
        ...

    def close(self) -> None: ...


class Triage(NamedTuple):
    """:param write: to be claimed. :param settled: nothing to write. :param deferred: with seconds: not ours now."""

    write: list[Candidate]
    settled: list[Settlement]
    deferred: list[tuple[RowRef, float]]


def triage(candidates: Iterable[Candidate]) -> Triage:
    """Which rows the store has to be told."""
    found = Triage([], [], [])
    for candidate in candidates:
        row, standing = candidate
        if standing.claim_left > 0:
            found.deferred.append((row.ref, standing.claim_left))
        elif row.revision <= standing.projected_revision or row.revision == 0:
            # was due and is not any more
            if standing.version:
                found.settled.append(_unwritten(candidate, standing.projected_revision))
        elif standing.content_hash == row.content_hash:
            found.settled.append(_unwritten(candidate, row.revision))
        else:
            found.write.append(candidate)
    return found


def is_stale(written: StateRow, now: StateRow) -> bool:
    """Whether what the store was told is not the row any more, so that it must be told again.

    :param now: read after the store's answer: whatever was written before that read is older than it.
    """
    return now.revision != written.revision and now.content_hash != written.content_hash


def settlement(written: Candidate, landed: Landed, revision: int) -> Settlement:
    """:param written: as claimed. :param revision: the row's, read again after a DONE."""
    row, standing = written
    base = Settlement(row.ref, standing.version, external_id=landed.external_id, reason=landed.reason)
    match landed.landing:
        case Landing.DONE:
            return base._replace(projected_revision=revision, content_hash=row.content_hash)
        case Landing.REJECTED:
            return base._replace(
                projected_revision=row.revision, content_hash=row.content_hash, is_rejected=True
            )
        case Landing.LATER:
            seconds = landed.retry_after
            if seconds is None:
                seconds = RETRY_SECONDS[min(standing.attempts, len(RETRY_SECONDS) - 1)]
        case Landing.UNKNOWN:
            seconds = UNKNOWN_SECONDS
    return base._replace(attempts=standing.attempts + 1, retry_seconds=seconds)


def unsent(claimed: Candidate) -> Settlement:
    """The store is away: as soon as it is back."""
    return Settlement(
        claimed.row.ref, claimed.standing.version, attempts=claimed.standing.attempts, retry_seconds=0.0
    )


def dead_letter(sink: str, rejected: Settlement) -> tuple[str, DeadLetter]:
    """The rejected revision as a dead letter, with the table it is of in the place of a topic.

    It names the row and says nothing of its values: they are in PostgreSQL.
    """
    tenant, kind, row_id = rejected.ref
    revision = rejected.projected_revision
    name = {"tenant_id": tenant, "kind": kind, "id": row_id, "revision": revision}
    letter = DeadLetter(
        offset=int.from_bytes(identity.hash_bytes(64, tenant, row_id, str(revision)), "big") >> 1,
        tenant_id=tenant,
        key=identity.partition_key(tenant, row_id),
        headers=(),
        value=_encode(name),
        stage="project",
        reason=rejected.reason,
        fingerprint=identity.fingerprint(f"project {sink}", rejected.reason),
    )
    return f"meta.{kind}", letter


def content_hash(values: Mapping[str, Any] | None) -> int:
    """64 bits, signed, over a row's values; of a deleted row too."""
    encoded = _encode(dict(values) if values is not None else None)
    return int.from_bytes(sha256(encoded).digest()[:8], "big", signed=True)


def _unwritten(candidate: Candidate, projected_revision: int) -> Settlement:
    standing = candidate.standing
    return Settlement(
        candidate.row.ref,
        standing.version,
        projected_revision=projected_revision,
        content_hash=standing.content_hash,
    )
