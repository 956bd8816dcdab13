"""Dead letters of ingest tried again, from where they were set aside.

A redriven record keeps its partition, offset and time of receipt, so it changes only what nothing newer has said,
and a second redrive changes nothing. It is marked after its rows are stored: a crash between the two repeats work
that is known already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

from airflow_provider_atlan_meta.core.dead_letters import DeadLetterStore, LetterQuery, RedriveNote
from airflow_provider_atlan_meta.core.enrich import enrich
from airflow_provider_atlan_meta.core.errors import ConfigurationError, RejectedError
from airflow_provider_atlan_meta.core.ports import StoredDeadLetter
from airflow_provider_atlan_meta.core.rows import EventRow, LogRecord
from airflow_provider_atlan_meta.pipeline.ingest import SINK
from airflow_provider_atlan_meta.pipeline.replay import Replayed, ReplayWriter

_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class Redriven:
    """What a redrive found and did.

    :ivar letters: looked at. :ivar redriven: whose rows are stored now (dry run: that can be read now).
    :ivar rejected: that fail as before, or in another way; they stay. :ivar reasons: why, with how many.
    :ivar changes: incidents' effective changes; each made one change message.
    """

    letters: int = 0
    redriven: int = 0
    rejected: int = 0
    changes: int = 0
    dry_run: bool = False
    reasons: tuple[tuple[str, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "reasons": dict(self.reasons)}


class Redrive:
    """Runs the waiting dead letters of one topic through a ``ReplayWriter``.

    :param decode: the same as the writer's.
    :param report: hears of the sums so far, after every page.
    """

    def __init__(
        self,
        *,
        letters: DeadLetterStore,
        writer: ReplayWriter,
        report: Callable[[Redriven], None],
        decode: Callable[[LogRecord], EventRow] = enrich,
    ) -> None:
        self._letters = letters
        self._writer = writer
        self._report = report
        self._decode = decode

    def run(self, query: LetterQuery, note: RedriveNote, *, dry_run: bool = False) -> Redriven:
        """:param query: its topic is needed: offsets of another topic say nothing of newer and older.

        :raises TransientError: the store is away; what was reported as redriven is.
        """
        if not query.topic:
            raise ConfigurationError("a redrive is of one topic: name it")
        self._sums, self._reasons = Redriven(dry_run=dry_run), dict[str, int]()
        waiting = replace(query, sink=SINK, state="new", limit=_AT_ONCE)
        last: StoredDeadLetter | None = None
        while page := self._letters.page(waiting, last):
            last = page[-1]
            self._redrive(page, note, dry_run=dry_run)
            self._report(self._sums)
        return self._sums

    def _redrive(self, page: Sequence[StoredDeadLetter], note: RedriveNote, *, dry_run: bool) -> None:
        readable = [letter for letter in page if self._reads(letter)]
        self._add(letters=len(page), rejected=len(page) - len(readable))
        if dry_run:
            self._add(redriven=len(readable))
            return
        for _, part in groupby(readable, key=lambda letter: letter.partition):
            for stored, done in self._written(list(part)):
                self._letters.mark_redriven(stored, note)
                self._add(redriven=len(stored), changes=done.changes)

    def _reads(self, letter: StoredDeadLetter) -> bool:
        try:
            self._decode(_record(letter))
        except RejectedError as error:
            self._refused(error)
            return False
        return True

    def _written(
        self, letters: Sequence[StoredDeadLetter]
    ) -> Iterator[tuple[Sequence[StoredDeadLetter], Replayed]]:
        """Halves around what the store refuses."""
        try:
            yield letters, self._writer.write([_record(letter) for letter in letters], reapply=False)
        except RejectedError as error:
            if len(letters) == 1:
                self._refused(error)
                self._add(rejected=1)
                return
            middle = len(letters) // 2
            yield from self._written(letters[:middle])
            yield from self._written(letters[middle:])

    def _refused(self, error: RejectedError) -> None:
        self._reasons[error.reason] = self._reasons.get(error.reason, 0) + 1

    def _add(self, **more: int) -> None:
        sums = {name: getattr(self._sums, name) + number for name, number in more.items()}
        self._sums = replace(self._sums, reasons=tuple(sorted(self._reasons.items())), **sums)


def _record(letter: StoredDeadLetter) -> LogRecord:
    return LogRecord(letter.partition, letter.offset, letter.key, letter.value, tuple(letter.headers))
