"""Current rows into a catalog: bulks that shrink under trouble, and one bad entity never stops the others.

A bulk is one transaction of the catalog. Where it refuses one, halves of it are sent until the entity that is to blame
stands alone. What was sent and not answered stays unknown; nothing is sent after it in the same call.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_atlan_meta.clients.atlas import (
    Answer,
    AtlasClient,
    UnansweredError,
    refusal,
    segment,
)
from airflow_provider_atlan_meta.core.atlas import (
    BatchSize,
    CatalogEntity,
    Target,
    apart,
    bulk_body,
    catalog_entity,
    is_foreign,
    linked_refs,
    newest,
    revision_of,
    temporary_guid,
)
from airflow_provider_atlan_meta.core.atlas_errors import Fault, Verdict, classify
from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.stores import Landed, Landing, RowRef, StateRow

ReadRows = Callable[[Sequence[RowRef]], Iterable[StateRow]]
# A call that begins later than this after write() began is left for the next one: leases are short.
WRITE_SECONDS = 5.0
# An entity that breaks the server is found by halves after so many; a server that is broken is not asked on.
_FAILURES_IN_A_ROW = 10
# of a query: servers take a little over 16,000 characters of a request's head
_QUERY_CHARS = 6000
_SHRINKING = (Fault.TOO_LARGE, Fault.LOCKED, Fault.INTERNAL, Fault.AWAY)
_REMEMBERED = 100_000
_MISSING = classify(404, "ATLAS-404-00-00A")
_NOT_TRIED = "the catalog was not asked: it was slow"


class AtlasSink:
    """``core.stores.StateSink``. Makes the types it needs before its first write.

    :param read_rows: rows as they are now, of the entities that incidents name; those that are gone may be left out.
    :param clock: seconds that only go forward.
    """

    name = "atlas"

    def __init__(
        self,
        client: AtlasClient,
        *,
        read_rows: ReadRows,
        write_seconds: float = WRITE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._naming = client.config.naming
        self._read_rows = read_rows
        self._write_seconds = write_seconds
        self._clock = clock
        self._size = BatchSize(client.config.dialect)
        self._present = _Present()
        self._has_types = False

    @property
    def client(self) -> AtlasClient:
        """The catalog it writes to."""
        return self._client

    @property
    def batch_size(self) -> int:
        """How many entities the next bulk takes."""
        return self._size.limit

    def close(self) -> None:
        self._client.close()

    def write(self, rows: Sequence[StateRow]) -> list[Landed]:
        """:raises TransientError: the catalog is away and nothing of the rows is known to be written.
        :raises TerminalError: types cannot be made, login refused, or no catalog at that address.
        """
        ends_at = self._clock() + self._write_seconds
        if not self._has_types:
            self._client.ensure_types()
            self._has_types = True
        latest = newest(rows)
        entities = self.entities(latest)
        run = _Run(self._client, self._size, self._present, lambda: self._clock() < ends_at)
        landed = {
            row.ref: Landed(row.ref, row.revision, Landing.DONE, "the catalog has no place for it")
            for row in latest
            if row.ref not in entities
        }
        # what is referred to comes first
        run.write(sorted(entities.values(), key=lambda entity: bool(entity.links)))
        landed |= run.landed
        # an older revision beside a newer one is done by it
        return [landed[row.ref]._replace(revision=row.revision) for row in rows]

    def entities(self, rows: Sequence[StateRow]) -> dict[RowRef, CatalogEntity]:
        """What the catalog is told of each; ``digest`` is equal where that is. Without those it takes nothing of."""
        known = {row.ref: row for row in rows}
        wanted = [ref for ref in linked_refs(rows) if ref not in known]
        known |= {row.ref: row for row in (self._read_rows(wanted) if wanted else ())}
        made = {row.ref: catalog_entity(row, self._naming, known) for row in rows}
        return {ref: entity for ref, entity in made.items() if entity is not None}

    def read_revisions(self, refs: Sequence[RowRef]) -> dict[RowRef, int]:
        """Which revision of each the catalog has; what it has not, or says nothing of, is left out.

        :raises TransientError, TerminalError: the catalog did not answer, or refused.
        """
        rows = {row.ref: row for row in self._read_rows(refs)}
        targets: dict[Target, RowRef] = {}
        for ref in refs:
            row = rows.get(ref) or StateRow(ref, 0, None, 0)
            entity = catalog_entity(row._replace(revision=0), self._naming, rows)
            if entity is not None:
                targets[entity.target] = ref
        found = _documents(self._client, list(targets))
        revisions = ((targets[target], revision_of(document)) for target, document in found.items())
        return {ref: revision for ref, revision in revisions if revision is not None}


class _Present:
    """Entities that the catalog had when it was last looked; bounded."""

    def __init__(self) -> None:
        self.targets: set[Target] = set()

    def add(self, targets: Iterable[Target]) -> None:
        if len(self.targets) > _REMEMBERED:
            self.forget()
        self.targets.update(targets)

    def forget(self) -> None:
        self.targets.clear()


class _Run:
    """One call of ``write``. :param may_go_on: whether there is time for another request."""

    def __init__(
        self, client: AtlasClient, size: BatchSize, present: _Present, may_go_on: Callable[[], bool]
    ) -> None:
        self._present = present
        self.landed: dict[RowRef, Landed] = {}
        self._client = client
        self._dialect = client.config.dialect
        self._size = size
        self._may_go_on = may_go_on
        self._failures = 0
        # why nothing is sent any more, and for how long
        self._stopped: TransientError | None = None

    def write(self, entities: Sequence[CatalogEntity]) -> None:
        """Every entity lands.

        :raises TransientError: the catalog is away, and none of them was written.
        """
        pending = deque(apart([entity for entity in entities if entity.attributes is not None]))
        pending.extend([entity] for entity in entities if entity.attributes is None)
        while pending:
            chunk = pending.popleft()
            if self._stopped is None and not self._may_go_on():
                self._stopped = TransientError(_NOT_TRIED, retry_after=0)
            if self._stopped is not None:
                self._land(chunk, Landing.LATER, str(self._stopped), self._stopped.retry_after)
            elif len(chunk) > self._size.limit:
                at = self._size.limit
                pending.extendleft((chunk[at:], chunk[:at]))
            else:
                pending.extendleft(reversed(self._send(chunk)))
        if self._stopped is not None and all(one.landing is Landing.LATER for one in self.landed.values()):
            raise self._stopped

    def _send(self, chunk: list[CatalogEntity]) -> list[list[CatalogEntity]]:
        """One request, and what must be read before it. :return: what is to be sent instead of it."""
        try:
            chunk = self._linkable(chunk)
            custom = self._custom_attributes(chunk)
        except TransientError as error:
            self._away(chunk, error)
            return []
        if not chunk:
            return []
        try:
            is_upsert = chunk[0].attributes is not None
            answer = self._upsert(chunk, custom) if is_upsert else self._delete(chunk[0])
        except UnansweredError as error:
            self._size.shrink()
            self._land(chunk, Landing.UNKNOWN, "the catalog did not answer")
            self._stopped = error
            return []
        except TransientError as error:
            self._away(chunk, error)
            return []
        if answer.verdict is None:
            self._done(chunk, answer.document)
            return []
        return self._refused(chunk, answer, answer.verdict)

    def _linkable(self, chunk: list[CatalogEntity]) -> list[CatalogEntity]:
        """Those whose links the catalog has, as far as is known; the others wait. A bulk with one that is missing
        would be refused as a whole, and in a backlog many are.
        """
        within = {entity.target for entity in chunk}
        links = {link for entity in chunk for link in entity.links}
        self._present.add(_documents(self._client, sorted(links - within - self._present.targets)))
        known = within | self._present.targets
        waiting = [entity for entity in chunk if not known.issuperset(entity.links)]
        self._land(waiting, Landing.LATER, _MISSING.reason)
        return [entity for entity in chunk if known.issuperset(entity.links)]

    def _custom_attributes(self, chunk: Sequence[CatalogEntity]) -> dict[Target, dict[str, str]]:
        """Of foreign entities: a write replaces them."""
        told = [entity.target for entity in chunk if entity.attributes is not None]
        foreign = [target for target in told if is_foreign(target, self._dialect)]
        known = _documents(self._client, foreign)
        return {target: document.get("customAttributes") or {} for target, document in known.items()}

    def _upsert(self, chunk: Sequence[CatalogEntity], custom: Mapping[Target, Mapping[str, str]]) -> Answer:
        body = bulk_body(chunk, self._dialect, custom)
        return self._client.send(
            "POST", "/entity/bulk", query=list(self._dialect.bulk_query.items()), body=body
        )

    def _delete(self, entity: CatalogEntity) -> Answer:
        target = entity.target
        path = f"/entity/uniqueAttribute/type/{segment(target.type_name)}"
        answer = self._client.send("DELETE", path, query=[(f"attr:{target.attribute}", target.value)])
        is_gone = answer.verdict is not None and answer.verdict.fault is Fault.NOT_FOUND
        return answer._replace(verdict=None, document=None) if is_gone else answer

    def _done(self, chunk: Sequence[CatalogEntity], document: Any) -> None:
        self._failures = 0
        if len(chunk) == self._size.limit:
            self._size.succeed()
        if chunk[0].attributes is None:
            self._present.forget()
        else:
            self._present.add(entity.target for entity in chunk)
        guids = (document or {}).get("guidAssignments") or {}
        for at, entity in enumerate(chunk):
            guid = str(guids.get(temporary_guid(at)) or "")
            self.landed[entity.ref] = Landed(entity.ref, entity.revision, Landing.DONE, external_id=guid)

    def _refused(
        self, chunk: list[CatalogEntity], answer: Answer, verdict: Verdict
    ) -> list[list[CatalogEntity]]:
        fault = verdict.fault
        if fault is Fault.REFUSED:
            raise refusal("write", answer)
        if fault in _SHRINKING:
            self._size.shrink()
        self._failures = self._failures + 1 if fault is Fault.INTERNAL else 0
        if fault is Fault.AWAY or self._failures >= _FAILURES_IN_A_ROW:
            self._stopped = TransientError(verdict.reason, retry_after=answer.retry_after)
            self._land(chunk, Landing.LATER, verdict.reason, answer.retry_after)
            return []
        if fault is Fault.MISSING:
            # what was taken for there is not
            self._present.forget()
        if len(chunk) > 1:
            half = len(chunk) // 2
            return [chunk[:half], chunk[half:]]
        self._land(chunk, verdict.landing, verdict.reason, answer.retry_after)
        return []

    def _away(self, chunk: Sequence[CatalogEntity], error: TransientError) -> None:
        """Nothing of the chunk was written."""
        self._stopped = error
        self._land(chunk, Landing.LATER, str(error), error.retry_after)

    def _land(
        self,
        chunk: Sequence[CatalogEntity],
        landing: Landing,
        reason: str,
        retry_after: float | None = None,
    ) -> None:
        after = retry_after if landing is Landing.LATER else None
        for entity in chunk:
            self.landed[entity.ref] = Landed(entity.ref, entity.revision, landing, reason, retry_after=after)


def _documents(client: AtlasClient, targets: Sequence[Target]) -> dict[Target, Mapping[str, Any]]:
    """The catalog's entities under these names; those that are not there are left out."""
    found: dict[Target, Mapping[str, Any]] = {}
    for kind, attribute in dict.fromkeys((target.type_name, target.attribute) for target in targets):
        alike = [target for target in targets if (target.type_name, target.attribute) == (kind, attribute)]
        for asked in _short_queries(alike):
            query = [(f"attr_{at}:{attribute}", target.value) for at, target in enumerate(asked)]
            query += [("minExtInfo", "true"), ("ignoreRelationships", "true")]
            answer = client.send("GET", f"/entity/bulk/uniqueAttribute/type/{segment(kind)}", query=query)
            if answer.verdict is not None:
                if answer.verdict.fault in (Fault.NOT_FOUND, Fault.POISON):
                    # no such type, or not with this attribute: a write will say so
                    continue
                raise refusal("read", answer)
            by_value = {target.value: target for target in asked}
            for document in answer.document.get("entities") or ():
                target = by_value.get(str((document.get("attributes") or {}).get(attribute)))
                if target is not None:
                    found[target] = document
    return found


def _short_queries(targets: Sequence[Target]) -> Iterable[list[Target]]:
    """As many of them as a request's first line takes; an encoded character may be nine."""
    chunk: list[Target] = []
    chars = 0
    for target in targets:
        size = 40 + len(segment(target.value))
        if chunk and chars + size > _QUERY_CHARS:
            yield chunk
            chunk, chars = [], 0
        chunk.append(target)
        chars += size
    if chunk:
        yield chunk
