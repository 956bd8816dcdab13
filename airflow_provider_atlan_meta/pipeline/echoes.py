"""A store's own word on what it was told: an echo of a revision that PostgreSQL has left behind.

An answer that was lost may be a write that comes late, over a newer one. Its echo tells.
"""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_atlan_meta.core.projection import ProjectionLedger
from airflow_provider_atlan_meta.core.stores import RowRef


def repair_old_echoes(projection: ProjectionLedger, echoes: Iterable[tuple[RowRef, int]]) -> list[RowRef]:
    """Rows of which the store said an older revision than theirs are written again; the others are echoes only.

    :param echoes: rows and the revision of ours that the store says it was given.
    :return: the rows that are written again.
    """
    said: dict[RowRef, int] = {}
    for ref, revision in echoes:
        said[ref] = min(revision, said.get(ref, revision))
    old = [row.ref for row, _ in projection.read(list(said)) if said[row.ref] < row.revision]
    if old:
        projection.mark_dirty(old)
    return old
