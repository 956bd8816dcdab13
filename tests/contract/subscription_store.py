"""What every ``core.stored_subscriptions.SubscriptionAdministration`` promises: inherit, and give a ``bench``."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

from airflow_provider_atlan_meta.core.patterns import Pattern
from airflow_provider_atlan_meta.core.routing import DestinationSpec, Router, Subscription
from airflow_provider_atlan_meta.core.stored_subscriptions import AuditEntry, SubscriptionAdministration
from airflow_provider_atlan_meta.core.subscription_diff import described


class SubscriptionBench(Protocol):
    """A store without subscriptions, and what a superuser does to it and sees in it."""

    def store(self, actor: str = "consumer 7") -> SubscriptionAdministration:
        """:param actor: who disables."""
        ...

    def audit(self) -> list[AuditEntry]: ...

    def store_by_hand(self, name: str, *, tenant: str, match: Any, destination: Any) -> None: ...

    def park(self, subscription: str, deliveries: int) -> None:
        """As many deliveries of it wait, each of a subject of its own, and one is final."""
        ...


def subscription(name: str, match: Any = None, **fields: Any) -> Subscription:
    options = fields.pop("options", {"channel": "C1"})
    return Subscription(
        **{
            "name": name,
            "tenant": "acme",
            "match": Pattern({"kind": ["incident"]} if match is None else match),
            "destination": DestinationSpec(type="slack", conn_id="slack", options=options),
            **fields,
        }
    )


def names(found: tuple[Subscription, ...]) -> list[str]:
    return [one.name for one in found]


GOOD = {"type": "slack", "conn_id": "slack", "options": {}}


class SubscriptionStoreContract:
    @pytest.fixture
    def bench(self) -> SubscriptionBench:
        raise NotImplementedError

    # ---- apply and load ----------------------------------------------------------------------------------------------

    def test_a_store_without_subscriptions_has_a_version_all_the_same(self, bench: SubscriptionBench) -> None:
        version, found = bench.store().load()

        assert found == ()
        assert isinstance(version, int)

    def test_what_was_applied_is_loaded_by_name_with_everything_it_says(
        self, bench: SubscriptionBench
    ) -> None:
        wanted = [
            subscription(
                "b-1", {"severity": {"to": ["SEV-1", None]}, "$or": [{"owner": "dana"}, {"op": "deleted"}]}
            ),
            subscription("b", tenant="*", enabled=False, options={}),
            subscription("a_1", {}, options={"channel": "C2", "nested": {"list": [1, 1.5, True, None]}}),
        ]

        bench.store().apply(wanted, actor="dana")

        _, found = bench.store().load()
        assert names(found) == ["a_1", "b", "b-1"]
        assert {one.name: described(one) for one in found} == {one.name: described(one) for one in wanted}
        assert {one.revision for one in found} == {1}

    def test_only_what_changed_gets_a_new_revision(self, bench: SubscriptionBench) -> None:
        store = bench.store()
        store.apply([subscription("same"), subscription("moved"), subscription("gone")], actor="dana")

        applied = store.apply(
            [subscription("new"), subscription("moved", options={"channel": "C2"}), subscription("same")],
            actor="dana",
        )

        assert applied.diff.to_dict() == {
            "added": [{"name": "new", **described(subscription("new"))}],
            "changed": [
                {
                    "name": "moved",
                    "fields": [{"path": "destination.channel", "before": "C1", "after": "C2"}],
                }
            ],
            "removed": ["gone"],
            "unchanged": ["same"],
        }
        assert {one.name: one.revision for one in store.load()[1]} == {"moved": 2, "new": 1, "same": 1}

    def test_every_change_is_a_new_version_and_what_is_so_already_is_none(
        self, bench: SubscriptionBench
    ) -> None:
        store = bench.store()
        versions = [store.load()[0]]
        for wanted in ([subscription("a")], [subscription("a", enabled=False)], []):
            applied = store.apply(wanted, actor="dana")
            assert applied.version == store.load()[0]
            versions.append(applied.version)
            assert store.apply(wanted, actor="dana").version == applied.version

        assert sorted(set(versions)) == versions

    def test_a_dry_run_tells_what_would_be_and_changes_nothing(self, bench: SubscriptionBench) -> None:
        store = bench.store()
        store.apply([subscription("a")], actor="dana")
        before, audited = store.load(), bench.audit()

        planned = store.apply([subscription("b")], actor="dana", dry_run=True)

        assert (names(planned.diff.added), names(planned.diff.removed)) == (["b"], ["a"])
        assert planned.dry_run
        assert planned.version == before[0]
        assert (store.load(), bench.audit()) == (before, audited)

    def test_who_did_what_is_audited_with_both_sides(self, bench: SubscriptionBench) -> None:
        store = bench.store()
        one, other = subscription("a"), subscription("a", tenant="*")

        for wanted, actor in (([one], "dana"), ([other], "eve"), ([other], "eve"), ([], "dana")):
            store.apply(wanted, actor=actor)

        assert bench.audit() == [
            AuditEntry("dana", "subscription.add", "a", "acme", None, described(one)),
            AuditEntry("eve", "subscription.change", "a", "*", described(one), described(other)),
            AuditEntry("dana", "subscription.remove", "a", "*", described(other), None),
        ]

    # ---- what waits --------------------------------------------------------------------------------------------------

    def test_an_apply_says_how_many_waiting_deliveries_it_abandons(self, bench: SubscriptionBench) -> None:
        store = bench.store()
        store.apply([subscription("a"), subscription("b"), subscription("c")], actor="dana")
        bench.park("a", 3)
        bench.park("b", 2)

        planned = store.apply([subscription("b")], actor="dana", dry_run=True)

        assert planned.abandoned == {"a": 3}
        assert store.apply([subscription("b")], actor="dana").abandoned == {"a": 3}

    def test_what_waits_for_a_subscription_goes_on_when_it_is_there_changed_or_enabled_again(
        self, bench: SubscriptionBench
    ) -> None:
        store = bench.store()
        store.apply([subscription("a"), subscription("b"), subscription("c")], actor="dana")
        for name, deliveries in (("a", 3), ("b", 2), ("c", 1), ("new", 4), ("off", 5)):
            bench.park(name, deliveries)
        store.disable("a", "the receiver answered 410")
        wanted = [
            *(subscription("a"), subscription("b", options={"channel": "C2"}), subscription("c")),
            *(subscription("new"), subscription("off", enabled=False)),
        ]

        planned = store.apply(wanted, actor="dana", dry_run=True)

        assert planned.resumed == {"a": 3, "b": 2, "new": 4}
        assert store.apply(wanted, actor="dana").resumed == planned.resumed
        assert store.apply(wanted, actor="dana").resumed == {}

    # ---- disable -----------------------------------------------------------------------------------------------------

    def test_disabling_twice_is_once_and_keeps_the_first_reason(self, bench: SubscriptionBench) -> None:
        store = bench.store("consumer 7")
        store.apply([subscription("a"), subscription("b")], actor="dana")
        version = store.load()[0]

        store.disable("a", "the receiver answered 410")
        disabled = store.load()
        store.disable("a", "another")

        assert store.load() == disabled
        assert disabled[0] > version
        assert [(one.name, one.enabled, one.revision) for one in disabled[1]] == [
            ("a", False, 1),
            ("b", True, 1),
        ]
        before = described(subscription("a"))
        assert bench.audit()[2:] == [
            AuditEntry(
                *("consumer 7", "subscription.disable", "a", "acme", before, {**before, "enabled": False}),
                "the receiver answered 410",
            )
        ]

    def test_what_is_not_there_or_disabled_by_its_file_cannot_be_disabled(
        self, bench: SubscriptionBench
    ) -> None:
        store = bench.store()
        store.apply([subscription("a", enabled=False)], actor="dana")
        before = store.load(), bench.audit()

        store.disable("a", "gone")
        store.disable("unknown", "gone")

        assert (store.load(), bench.audit()) == before

    def test_applying_the_file_enables_again_and_says_why_it_had_been_disabled(
        self, bench: SubscriptionBench
    ) -> None:
        store = bench.store()
        store.apply([subscription("a")], actor="dana")
        store.disable("a", "the receiver answered 410")

        applied = store.apply([subscription("a")], actor="dana")

        assert applied.enabled_again == {"a": "the receiver answered 410"}
        assert [(one.enabled, one.revision) for one in store.load()[1]] == [(True, 2)]
        assert store.apply([subscription("a")], actor="dana").enabled_again == {}

    # ---- what cannot be used -----------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"match": {"severity": [{"sounds-like": "SEV"}]}}, "sounds-like"),
            ({"match": "everything"}, "match"),
            ({"match": None}, "match"),
            ({"tenant": "Acme Inc."}, "tenant"),
            ({"destination": {"type": "slack"}}, "conn_id"),
            ({"destination": ["slack"]}, "destination"),
        ],
        ids=str,
    )
    def test_one_that_cannot_be_used_is_told_of_and_takes_no_other_down(
        self, bench: SubscriptionBench, fields: dict[str, Any], told: str
    ) -> None:
        store = bench.store()
        store.apply([subscription("a"), subscription("z")], actor="dana")
        bench.store_by_hand("m", **{"tenant": "acme", "match": {}, "destination": GOOD, **fields})

        _, found = store.load()

        assert names(found) == ["a", "z"]
        Router(found)
        ((name, problem),) = store.load_all().unusable.items()
        assert name == "m"
        assert told in problem

    def test_applying_a_file_repairs_or_removes_what_cannot_be_used(self, bench: SubscriptionBench) -> None:
        store = bench.store()
        for name in ("m", "n"):
            bench.store_by_hand(name, tenant="acme", match={"severity": {"like": 1}}, destination=GOOD)

        applied = store.apply([subscription("m")], actor="dana")

        assert [one.after.name for one in applied.diff.changed] == ["m"]
        assert names(applied.diff.removed) == ["n"]
        found = store.load_all()
        assert (names(found.subscriptions), found.unusable) == (["m"], {})
        assert found.subscriptions[0].revision == 2
