"""What every ``core.stored_mappings.MappingStore`` promises: inherit, and give a ``bench``."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

from airflow_provider_atlan_meta.core.mapping import Resolved, WarehouseMapping
from airflow_provider_atlan_meta.core.stored_mappings import MappingStore, spec_of
from airflow_provider_atlan_meta.core.stored_subscriptions import AuditEntry

ACCOUNT = "3f1c1c2e-5a0b-4c55-9c1d-0a6b7e4f2a10"
GOOD: dict[str, Any] = {
    "account": ACCOUNT, "groups": ["*"], "platform": "snowflake", "dialect": "atlas", "case": "keep", "cluster": "prod"
}  # fmt: skip


class MappingBench(Protocol):
    """A store without mappings, and what a superuser does to it and sees in it."""

    def store(self) -> MappingStore: ...

    def audit(self) -> list[AuditEntry]: ...

    def store_by_hand(self, name: str, *, tenant: str, spec: Any) -> None: ...


def mapping(name: str, **fields: Any) -> WarehouseMapping:
    told = {"tenant": "acme", "account": ACCOUNT, "groups": (f"{name}:*",), "platform": "snowflake", **fields}
    return WarehouseMapping(name=name, values=(("cluster", "prod"),), **told)


class MappingStoreContract:
    @pytest.fixture
    def bench(self) -> MappingBench:
        raise NotImplementedError

    def test_a_store_without_mappings_has_a_revision_all_the_same(self, bench: MappingBench) -> None:
        found = bench.store().load()

        assert found.mappings.mappings == ()
        assert isinstance(found.mappings.revision, int)
        assert bench.store().rows() == []

    def test_what_was_applied_is_loaded_by_name_with_everything_it_says(self, bench: MappingBench) -> None:
        whole = WarehouseMapping(
            name="whole",
            tenant="globex",
            warehouse="7d0c2f8a-93f6-4b0e-8d1e-5f6b1f0a9c21",
            account=ACCOUNT,
            groups=("a:*", "b"),
            platform="snowflake",
            dialect="atlan",
            naming="default/{platform}/{epoch}/{DATABASE}/{SCHEMA}/{TABLE}",
            case="upper",
            values=(("cluster", "c"), ("epoch", "1650000000")),
        )

        bench.store().apply([whole, mapping("little")], actor="dana")

        found = bench.store().load()
        assert (found.mappings.mappings, found.unusable) == ((mapping("little"), whole), {})
        assert [(row.name, row.revision, row.applied_by) for row in bench.store().rows()] == [
            ("little", 1, "dana"),
            ("whole", 1, "dana"),
        ]
        named = found.mappings.resolve("acme", ACCOUNT, "little:s", "t")
        assert isinstance(named, Resolved)
        assert named.entity.qualified_name == "little.s.t@prod"

    def test_only_what_changed_gets_a_new_revision(self, bench: MappingBench) -> None:
        store = bench.store()
        store.apply([mapping("a"), mapping("b"), mapping("c")], actor="dana")

        applied = store.apply([mapping("a"), mapping("b", case="upper"), mapping("d")], actor="eve")

        assert [str(applied.diff).splitlines()] == [
            ["+ d (tables of acme)", "~ b", '    case: "keep" -> "upper"', "- c (tables of acme)"]
        ]
        assert applied.diff.unchanged == ("a",)
        assert [(row.name, row.revision, row.applied_by) for row in store.rows()] == [
            *(("a", 1, "dana"), ("b", 2, "eve"), ("d", 1, "eve"))
        ]

    def test_every_change_is_a_new_revision_of_all_and_what_is_so_already_is_none(
        self, bench: MappingBench
    ) -> None:
        store = bench.store()
        revisions = [store.load().mappings.revision]

        for wanted in ([mapping("a")], [mapping("a", case="lower")], []):
            applied = store.apply(wanted, actor="dana")
            revisions.append(applied.version)
            assert store.load().mappings.revision == applied.version
            again = store.apply(wanted, actor="dana")
            assert (again.version, again.diff.is_empty) == (applied.version, True)

        assert revisions == sorted(set(revisions))

    def test_a_dry_run_tells_what_would_be_and_changes_nothing(self, bench: MappingBench) -> None:
        store = bench.store()
        store.apply([mapping("a")], actor="dana")
        before = store.load(), store.rows(), bench.audit()

        planned = store.apply([mapping("b")], actor="dana", dry_run=True)

        assert [one.name for one in (*planned.diff.added, *planned.diff.removed)] == ["b", "a"]
        assert planned.dry_run
        assert planned.version == before[0].mappings.revision
        assert (store.load(), store.rows(), bench.audit()) == before

    def test_who_did_what_is_audited_with_both_sides(self, bench: MappingBench) -> None:
        store = bench.store()
        one, other = mapping("a"), mapping("a", tenant="globex", case="upper")

        for wanted, actor in (([one], "dana"), ([other], "eve"), ([other], "eve"), ([], "dana")):
            store.apply(wanted, actor=actor)

        first, second = {"tenant": "acme", **spec_of(one)}, {"tenant": "globex", **spec_of(other)}
        assert bench.audit() == [
            AuditEntry("dana", "mapping.add", "a", "acme", None, first),
            AuditEntry("eve", "mapping.change", "a", "globex", first, second),
            AuditEntry("dana", "mapping.remove", "a", "globex", second, None),
        ]

    @pytest.mark.parametrize(
        ("tenant", "spec", "told"),
        [
            ("Acme Inc.", GOOD, "tenant"),
            ("acme", ["snowflake"], "not what apply writes"),
            ("acme", {**GOOD, "groups": "all"}, "not what apply writes"),
            ("acme", {**GOOD, "groups": [1]}, "something else than text"),
            ("acme", {**GOOD, "cluster": 7}, "something else than text"),
            ("acme", {**GOOD, "colour": "red"}, "'colour', which this version does not know"),
            ("acme", {**GOOD, "dialect": "purview"}, "dialect"),
            ("acme", {**GOOD, "naming": "{database}"}, "without {table}"),
            (
                "acme",
                {key: value for key, value in GOOD.items() if key != "cluster"},
                "{cluster} has no value",
            ),
        ],
        ids=str,
    )
    def test_one_that_cannot_be_used_is_told_of_and_takes_no_other_down(
        self, bench: MappingBench, tenant: str, spec: Any, told: str
    ) -> None:
        store = bench.store()
        store.apply([mapping("a"), mapping("z")], actor="dana")
        bench.store_by_hand("m", tenant=tenant, spec=spec)

        found = store.load()

        assert [one.name for one in found.mappings.mappings] == ["a", "z"]
        ((name, problem),) = found.unusable.items()
        assert name == "m"
        assert told in problem

    def test_applying_a_file_repairs_or_removes_what_cannot_be_used(self, bench: MappingBench) -> None:
        store = bench.store()
        for name in ("m", "n"):
            bench.store_by_hand(name, tenant="acme", spec=["none"])

        applied = store.apply([mapping("m")], actor="dana")

        assert [*(one.name for one in applied.diff.changed), *(one.name for one in applied.diff.removed)] == [
            "m",
            "n",
        ]
        assert (store.load().mappings.mappings, store.load().unusable) == ((mapping("m"),), {})
        assert [row.revision for row in store.rows()] == [2]
