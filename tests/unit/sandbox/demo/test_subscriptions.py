"""The demo's subscriptions are ones that the product takes, and that its oracle understands as the product does."""

from __future__ import annotations

from airflow_provider_atlan_meta.config.subscriptions import read_subscriptions
from airflow_provider_atlan_meta.core.changes import ChangeEvent
from airflow_provider_atlan_meta.core.routing import Router
from airflow_provider_atlan_meta.sandbox.demo.evidence import SUBSCRIPTIONS
from airflow_provider_atlan_meta.sandbox.expected_deliveries import SLACK, WEBHOOK, Told, read_asked
from airflow_provider_atlan_meta.services.destinations import destination_types
from airflow_provider_atlan_meta.testing.subscriptions import realistic_changes

ASKED = read_asked(SUBSCRIPTIONS.read_text())


def test_the_product_takes_the_file() -> None:
    taken = read_subscriptions(SUBSCRIPTIONS, destinations=destination_types())
    assert [one.name for one in taken] == [one.name for one in ASKED]
    assert [one.destination.type for one in taken] == [one.destination for one in ASKED]


def test_one_webhook_hears_of_everything_and_ten_channels_of_one_type_each() -> None:
    assert [one.match for one in ASKED if one.destination == WEBHOOK] == [{}]
    channels = [one for one in ASKED if one.destination == SLACK]
    assert len({one.channel for one in channels}) == len(channels) == 10
    assert len({kind for one in channels for kind in one.match["type"]}) == 10


def test_the_oracle_routes_as_the_product_does() -> None:
    router = Router(read_subscriptions(SUBSCRIPTIONS, destinations=destination_types()))
    types = [kind for one in ASKED if one.destination == SLACK for kind in one.match["type"]]
    changes = realistic_changes(200)
    heard = 0
    for number, change in enumerate(changes):
        for part in (change.after, change.before):
            if part is not None and "type" in part:
                part["type"] = types[number % len(types)] if number % 3 else "other"
        expected = {one.name for one in ASKED if one.wants(_told(change))}
        assert {one.name for one in router.route(change)} == expected
        heard += len(expected)
    assert heard > len(changes)


def _told(change: ChangeEvent) -> Told:
    return Told(
        change_id=change.change_id,
        kind=change.kind,
        op=change.op,
        tenant=change.tenant_id,
        id=change.id,
        revision=change.revision,
        row=change.row or {},
    )
