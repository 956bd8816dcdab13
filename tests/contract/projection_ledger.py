"""What every ``core.projection.ProjectionLedger`` promises: inherit, and give a ``bench`` fixture."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple, Protocol
from uuid import UUID

import pytest

from airflow_provider_atlan_meta.core.projection import (
    CLAIM_SECONDS,
    Candidate,
    ProjectionLedger,
    Settlement,
    settlement,
    triage,
)
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS
from airflow_provider_atlan_meta.core.stores import ENTITY, INCIDENT, Landed, Landing, RowRef

TABLE = UUID("6b1f5d8e-3f0a-4c55-9c1d-0a6b7e4f2a10")
OPENED = datetime(2026, 11, 18, 11, 6, 40, 123456, tzinfo=UTC)


class Standing(NamedTuple):
    """Columns of a row of ``meta.projection``. :ivar waits: a retry is set."""

    projected_revision: int
    external_id: str
    attempts: int
    waits: bool
    is_claimed: bool
    reason: str


class ProjectionBench(Protocol):
    """An empty database, and ledgers of a sink each."""

    def ledger(self, sink: str = "atlas") -> ProjectionLedger: ...

    def put_incident(self, ref: RowRef, title: str) -> int:
        """Opened at OPENED, of the entity TABLE; the revision it has now."""
        ...

    def delete_incident(self, ref: RowRef) -> None: ...

    def put_entity(self, ref: RowRef, name: str) -> int: ...

    def pass_time(self, seconds: float) -> None: ...

    def standing(self, ref: RowRef, sink: str = "atlas") -> Standing | None: ...

    def letters(self) -> list[tuple[str, str, str, str, bytes]]:
        """topic, sink, tenant, reason, value of each dead letter."""
        ...


def incident(number: int = 1, tenant: str = "acme") -> RowRef:
    return RowRef(tenant, INCIDENT, f"inc-{number:04}")


def swept(ledger: ProjectionLedger, size: int = 100) -> list[RowRef]:
    """One whole sweep."""
    sweep = ledger.begin_sweep()
    found = [ref for page in ledger.dirty(sweep, size) for ref in page]
    ledger.finish_sweep(sweep)
    return found


def claimed(ledger: ProjectionLedger, *refs: RowRef) -> list[Candidate]:
    return ledger.claim(triage(ledger.read(refs)).write)


def answered(one: Candidate, landing: Landing = Landing.DONE, **more: object) -> Settlement:
    landed = Landed(one.row.ref, one.row.revision, landing, **more)  # type: ignore[arg-type]
    return settlement(one, landed, one.row.revision)


def project(ledger: ProjectionLedger, *refs: RowRef) -> None:
    ledger.settle([answered(one) for one in claimed(ledger, *refs)])


class ProjectionLedgerContract:
    @pytest.fixture
    def bench(self) -> ProjectionBench:
        raise NotImplementedError

    # ---- what is dirty -------------------------------------------------------------------------------------------

    def test_rows_of_every_tenant_are_dirty_until_they_are_projected(self, bench: ProjectionBench) -> None:
        ledger, table = bench.ledger(), RowRef("acme", ENTITY, str(TABLE))
        bench.put_incident(incident(1), "a")
        bench.put_incident(incident(1, "globex"), "a")
        bench.put_entity(table, "orders")
        everything = {incident(1), incident(1, "globex"), table}

        assert set(swept(ledger)) == everything

        project(ledger, *everything)
        assert swept(ledger) == []

    def test_a_row_that_changed_is_dirty_again(self, bench: ProjectionBench) -> None:
        ledger = bench.ledger()
        bench.put_incident(incident(1), "a")
        bench.put_incident(incident(2), "a")
        project(ledger, incident(1), incident(2))
        assert swept(ledger) == []

        bench.put_incident(incident(2), "b")

        assert swept(ledger) == [incident(2)]

    def test_a_deleted_row_is_dirty_until_its_tombstone_is_projected(self, bench: ProjectionBench) -> None:
        ledger = bench.ledger()
        bench.put_incident(incident(), "a")
        project(ledger, incident())

        bench.delete_incident(incident())

        assert swept(ledger) == [incident()]
        ((row, _),) = ledger.read([incident()])
        assert (row.revision, row.values) == (2, None)
        project(ledger, incident())
        assert swept(ledger) == []

    def test_a_row_that_came_back_is_that_row_and_not_its_tombstone(self, bench: ProjectionBench) -> None:
        ledger = bench.ledger()
        bench.put_incident(incident(), "a")
        bench.delete_incident(incident())
        assert bench.put_incident(incident(), "b") == 3

        ((row, _),) = ledger.read([incident()])
        assert row.revision == 3
        assert row.values is not None
        project(ledger, incident())
        assert swept(ledger) == []

    def test_each_sink_has_its_own_standing(self, bench: ProjectionBench) -> None:
        atlas, cassandra = bench.ledger("atlas"), bench.ledger("cassandra")
        bench.put_incident(incident(), "a")
        project(atlas, incident())

        assert swept(atlas) == []
        assert swept(cassandra) == [incident()]

    def test_pages_are_bounded_and_together_complete(self, bench: ProjectionBench) -> None:
        ledger = bench.ledger()
        refs = [incident(number, tenant) for tenant in ("acme", "globex") for number in range(13)]
        for ref in refs:
            bench.put_incident(ref, "a")

        pages = list(ledger.dirty(ledger.begin_sweep(), 5))

        assert max(map(len, pages)) == 5
        assert [ref for page in pages for ref in page] == refs

    def test_a_row_that_changes_during_a_sweep_is_in_it_or_in_the_next(self, bench: ProjectionBench) -> None:
        ledger = bench.ledger()
        for number in range(10):
            bench.put_incident(incident(number), "a")
        sweep = ledger.begin_sweep()
        for page in ledger.dirty(sweep, 5):
            project(ledger, *page)
            bench.put_incident(incident(0), f"b{page[0].id}")
        ledger.finish_sweep(sweep)

        assert swept(ledger) == [incident(0)]

    # ---- what a row says -----------------------------------------------------------------------------------------

    def test_a_row_is_read_with_its_columns_in_their_types(self, bench: ProjectionBench) -> None:
        ledger, table = bench.ledger(), RowRef("acme", ENTITY, str(TABLE))
        bench.put_incident(incident(), "it's \u00fcber \U0001f600")
        bench.put_entity(table, "orders")

        first, second = ledger.read([table, incident()])

        assert first.row.ref == table
        assert dict(first.row.values or {}) == {
            "qualified_name": "q.orders",
            "type_name": "table",
            "name": "orders",
            "platform": "p",
            "database_name": None,
            "schema_name": None,
        }
        values = second.row.values or {}
        assert set(values) == set(INCIDENT_FIELDS)
        assert (values["title"], values["opened_at"]) == ("it's \u00fcber \U0001f600", OPENED)
        assert (values["entity_ids"], values["status"]) == ([TABLE], None)

    def test_equal_content_has_an_equal_hash_in_every_ledger(self, bench: ProjectionBench) -> None:
        bench.put_incident(incident(), "a")

        ((row, _),) = bench.ledger().read([incident()])

        assert row.content_hash == 7539287567701583200

    def test_a_row_nobody_has_is_read_as_revision_0(self, bench: ProjectionBench) -> None:
        ledger = bench.ledger()

        for ref in (incident(), RowRef("acme", ENTITY, str(TABLE))):
            ((row, standing),) = ledger.read([ref])
            assert (row.revision, row.values, standing.version) == (0, None, 0)

    # ---- claims --------------------------------------------------------------------------------------------------

    def test_a_row_is_claimed_once(self, bench: ProjectionBench) -> None:
        mine, theirs = bench.ledger(), bench.ledger()
        bench.put_incident(incident(), "a")
        read = theirs.read([incident()])

        (one,) = claimed(mine, incident())

        assert theirs.claim(read) == []
        assert one.standing.version == read[0].standing.version + 1

    def test_a_claim_that_nobody_settled_keeps_others_away_for_a_minute(self, bench: ProjectionBench) -> None:
        dead, ledger = bench.ledger(), bench.ledger()
        bench.put_incident(incident(), "a")
        claimed(dead, incident())

        ((ref, left),) = triage(ledger.read([incident()])).deferred
        ledger.defer([(ref, left)])

        assert ref == incident()
        assert CLAIM_SECONDS - 5 < left <= CLAIM_SECONDS
        assert swept(ledger) == []
        bench.pass_time(CLAIM_SECONDS + 1)
        assert ledger.due(10) == [incident()]
        assert len(claimed(ledger, incident())) == 1

    def test_after_a_claim_nobody_trusts_what_the_store_has(self, bench: ProjectionBench) -> None:
        ledger = bench.ledger()
        bench.put_incident(incident(), "a")
        project(ledger, incident())
        bench.put_incident(incident(), "b")
        claimed(ledger, incident())
        bench.put_incident(incident(), "a")

        bench.pass_time(CLAIM_SECONDS + 1)

        assert triage(ledger.read([incident()])).settled == []

    # ---- settlements ---------------------------------------------------------------------------------------------

    def test_content_that_is_there_already_is_projected_without_a_write(self, bench: ProjectionBench) -> None:
        ledger = bench.ledger()
        bench.put_incident(incident(), "a")
        project(ledger, incident())
        bench.put_incident(incident(), "b")
        bench.put_incident(incident(), "a")

        found = triage(ledger.read([incident()]))
        ledger.settle(found.settled)

        assert (len(found.settled), found.write) == (1, [])
        assert swept(ledger) == []

    def test_an_answer_says_how_the_row_stands(self, bench: ProjectionBench) -> None:
        ledger = bench.ledger()
        bench.put_incident(incident(), "a")
        (one,) = claimed(ledger, incident())
        assert bench.standing(incident()) == Standing(0, "", 0, False, True, "")

        ledger.settle([answered(one, external_id="guid-1")])

        assert bench.standing(incident()) == Standing(1, "guid-1", 0, False, False, "")
        bench.put_incident(incident(), "b")
        project(ledger, incident())
        assert bench.standing(incident()) == Standing(2, "guid-1", 0, False, False, "")

    @pytest.mark.parametrize(("landing", "seconds"), [(Landing.LATER, 5.0), (Landing.UNKNOWN, 60.0)], ids=str)
    def test_a_row_that_has_to_wait_is_left_out_until_it_is_due(
        self, bench: ProjectionBench, landing: Landing, seconds: float
    ) -> None:
        ledger = bench.ledger()
        bench.put_incident(incident(), "a")
        (one,) = claimed(ledger, incident())

        ledger.settle([answered(one, landing, reason="busy")])

        assert bench.standing(incident()) == Standing(0, "", 1, True, False, "busy")
        bench.pass_time(seconds - 2)
        assert (swept(ledger), ledger.due(10)) == ([], [])
        bench.pass_time(3)
        assert (swept(ledger), ledger.due(10)) == ([], [incident()])
        project(ledger, incident())
        assert ledger.due(10) == []
        assert bench.standing(incident()) == Standing(1, "", 0, False, False, "")

    def test_the_longest_waiting_are_due_first(self, bench: ProjectionBench) -> None:
        ledger = bench.ledger()
        for number, seconds in ((1, 30.0), (2, 10.0), (3, 20.0)):
            bench.put_incident(incident(number), "a")
            (one,) = claimed(ledger, incident(number))
            ledger.settle([answered(one, Landing.LATER, retry_after=seconds)])

        bench.pass_time(31)

        assert ledger.due(2) == [incident(2), incident(3)]

    def test_a_rejected_row_is_a_dead_letter_once_and_blocks_nothing(self, bench: ProjectionBench) -> None:
        ledger = bench.ledger()
        bench.put_incident(incident(), "a")
        (one,) = claimed(ledger, incident())
        rejected = answered(one, Landing.REJECTED, reason="too long")

        ledger.settle([rejected])
        ledger.settle([rejected])

        ((topic, sink, tenant, reason, value),) = bench.letters()
        assert (topic, sink, tenant, reason) == ("meta.incident", "atlas", "acme", "too long")
        assert b'"inc-0001"' in value

    def test_a_row_is_told_again_after_the_change_that_follows_a_rejection(
        self, bench: ProjectionBench
    ) -> None:
        ledger = bench.ledger()
        bench.put_incident(incident(), "a")
        (one,) = claimed(ledger, incident())
        ledger.settle([answered(one, Landing.REJECTED, reason="too long")])
        assert swept(ledger) == []

        bench.put_incident(incident(), "b")

        assert swept(ledger) == [incident()]
        assert len(claimed(ledger, incident())) == 1

    def test_an_answer_counts_only_if_nobody_else_was_at_the_row(self, bench: ProjectionBench) -> None:
        late, ledger = bench.ledger(), bench.ledger()
        bench.put_incident(incident(), "a")
        (one,) = claimed(late, incident())
        bench.pass_time(CLAIM_SECONDS + 1)
        bench.put_incident(incident(), "b")
        project(ledger, incident())
        assert swept(ledger) == []

        late.settle([answered(one)])

        assert ledger.due(10) == [incident()]
        assert len(claimed(ledger, incident())) == 1

    def test_a_marked_row_is_written_again_although_nothing_changed(self, bench: ProjectionBench) -> None:
        ledger = bench.ledger()
        bench.put_incident(incident(), "a")
        project(ledger, incident())

        ledger.mark_dirty([incident(), incident(2)])

        assert sorted(ledger.due(10)) == [incident(), incident(2)]
        assert len(claimed(ledger, incident(), incident(2))) == 1
        ledger.settle(triage(ledger.read([incident(2)])).settled)
        assert ledger.due(10) == [incident()]

    def test_a_mark_is_kept_while_a_write_is_under_way(self, bench: ProjectionBench) -> None:
        ledger = bench.ledger()
        bench.put_incident(incident(), "a")
        (one,) = claimed(ledger, incident())

        ledger.mark_dirty([incident()])
        ledger.settle([answered(one)])

        assert ledger.due(10) == [incident()]
