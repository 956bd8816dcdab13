"""Dead letters in ``meta.dead_letter``, as role meta_ingest: it sees those without a tenant too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from airflow_provider_atlan_meta.clients.postgres import PostgresSession, stored_dead_letter
from airflow_provider_atlan_meta.core.dead_letters import (
    LetterGroup,
    LetterQuery,
    RedriveNote,
    ShownLetter,
)
from airflow_provider_atlan_meta.core.ports import StoredDeadLetter

_LETTER = """cluster_id, topic, partition, "offset", sink, key, headers::text, value, stage, reason, fingerprint,
       to_json(at at time zone 'utc') #>> '{}'"""
_CONDITIONS = {
    "fingerprint": "fingerprint = %(fingerprint)s",
    "tenant": "tenant_id = %(tenant)s",
    "topic": "topic = %(topic)s",
    "sink": "sink = %(sink)s",
    "state": "state = %(state)s",
}
_GROUPS = """
select fingerprint, sink, topic, stage, min(split_part(reason, ':', 1)), state, count(*), count(distinct tenant_id),
       min(at), max(at)
  from meta.dead_letter where {conditions}
 group by fingerprint, sink, topic, stage, state order by max(at) desc, fingerprint limit %(limit)s"""
_SHOWN = """
select {letter}, coalesce(tenant_id, ''), state
  from meta.dead_letter where {conditions}
 order by at desc, topic, partition, "offset" limit %(limit)s"""
_COUNT = "select count(*) from meta.dead_letter where {conditions}"
_PAGE = """
select {letter} from meta.dead_letter
 where {conditions}
   and (cluster_id, topic, partition, "offset", sink) > (%(a)s, %(b)s, %(c)s, %(d)s, %(e)s)
 order by cluster_id, topic, partition, "offset", sink limit %(limit)s"""
_BEFORE_ALL = ("", "", -1, -1, "")
_MARK_REDRIVEN = """
with marked as (
  update meta.dead_letter l set state = 'redriven'
    from unnest(%s::text[], %s::text[], %s::int[], %s::bigint[], %s::text[])
           o (cluster_id, topic, partition, "offset", sink)
   where l.cluster_id = o.cluster_id and l.topic = o.topic and l.partition = o.partition and l."offset" = o."offset"
     and l.sink = o.sink and l.state <> 'redriven'
  returning l.tenant_id, l.topic, l.fingerprint),
noted as (
  insert into meta.audit (actor, action, object, tenant_id, after, reason)
  select %s, 'redrive', 'dead letters ' || fingerprint, tenant_id,
         json_build_object('topic', topic, 'letters', count(*)), %s
    from marked group by tenant_id, topic, fingerprint)
select count(*) from marked"""


class PostgresDeadLetters(PostgresSession):
    """Implements ``core.dead_letters.DeadLetterStore``."""

    def groups(self, query: LetterQuery) -> list[LetterGroup]:
        return [LetterGroup._make(row) for row in self._ask(_GROUPS, query)]

    def shown(self, query: LetterQuery) -> list[ShownLetter]:
        return [ShownLetter(stored_dead_letter(row[:12]), *row[12:]) for row in self._ask(_SHOWN, query)]

    def count(self, query: LetterQuery) -> int:
        ((found,),) = self._ask(_COUNT, query)
        return int(found)

    def page(self, query: LetterQuery, after: StoredDeadLetter | None) -> list[StoredDeadLetter]:
        behind = dict(zip("abcde", after[:5] if after else _BEFORE_ALL, strict=True))
        return [stored_dead_letter(row) for row in self._ask(_PAGE, query, **behind)]

    def mark_redriven(self, letters: Sequence[StoredDeadLetter], note: RedriveNote) -> None:
        if not letters:
            return
        origins = [list(column) for column in zip(*[letter[:5] for letter in letters], strict=True)]
        self.fetch(_MARK_REDRIVEN, (*origins, note.actor, note.reason))

    def _ask(self, text: str, query: LetterQuery, **more: Any) -> list[tuple[Any, ...]]:
        asked = asdict(query)
        conditions = " and ".join(text for name, text in _CONDITIONS.items() if asked[name])
        return self.fetch(text.format(letter=_LETTER, conditions=conditions or "true"), {**asked, **more})
