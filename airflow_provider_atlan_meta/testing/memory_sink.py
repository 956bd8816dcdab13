"""A store of current rows in memory: ``core.stores.StateSink`` with the ways a real one fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from airflow_provider_atlan_meta.core.errors import TransientError
from airflow_provider_atlan_meta.core.stores import Landed, Landing, RowRef, StateRow


class MemoryStateSink:
    """Has of every row what was written last, whatever its revision: as a store without compare-and-set.

    :ivar rows: what it has. :ivar writes: every row it was told, in order. :ivar is_up: False: it is away.
    :ivar answers: how the next rows end, in order; without one: DONE. REJECTED and LATER have no effect, the effect
        of UNKNOWN comes with ``run_late``.
    :ivar told: hears of a write before it is answered, e.g. to change the row meanwhile.
    """

    def __init__(self, name: str = "atlas") -> None:
        self._name = name
        self.rows: dict[RowRef, StateRow] = {}
        self.writes: list[StateRow] = []
        self.answers: deque[Landed | Landing] = deque()
        self.is_up = True
        self.told: Callable[[StateRow], None] = lambda _: None
        self._late: list[StateRow] = []

    @property
    def name(self) -> str:
        return self._name

    def write(self, rows: Sequence[StateRow]) -> list[Landed]:
        if not self.is_up:
            raise TransientError(f"{self._name} is away")
        return [self._landed(row) for row in rows]

    def run_late(self) -> None:
        """What was sent and not answered takes effect now."""
        late, self._late = self._late, []
        for row in late:
            self.rows[row.ref] = row

    def close(self) -> None:
        return

    def _landed(self, row: StateRow) -> Landed:
        self.writes.append(row)
        self.told(row)
        scripted = self.answers.popleft() if self.answers else Landing.DONE
        landed = (
            scripted if isinstance(scripted, Landed) else Landed(row.ref, row.revision, scripted, "scripted")
        )
        if landed.landing is Landing.DONE:
            self.rows[row.ref] = row
            return landed._replace(ref=row.ref, revision=row.revision, reason="")
        if landed.landing is Landing.UNKNOWN:
            self._late.append(row)
        return landed._replace(ref=row.ref, revision=row.revision)
