"""What applying a file would change, by name and field."""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_provider_atlan_meta.core.patterns import Pattern
from airflow_provider_atlan_meta.core.routing import DestinationSpec, Subscription
from airflow_provider_atlan_meta.core.subscription_diff import described, diff_subscriptions


def subscription(name: str, match: dict[str, Any] | None = None, **fields: Any) -> Subscription:
    options = fields.pop("options", {"channel": "C1"})
    return Subscription(
        **{
            "name": name,
            "tenant": "acme",
            "match": Pattern({"kind": "incident"} if match is None else match),
            "destination": DestinationSpec(type="slack", conn_id="slack", options=options),
            **fields,
        }
    )


def test_what_is_stored_and_wanted_alike_is_unchanged_however_it_is_written() -> None:
    stored = [subscription("a", {"kind": "incident", "op": ["created"]}, revision=7)]
    wanted = [subscription("a", {"op": "created", "kind": ["incident"]})]

    diff = diff_subscriptions(stored, wanted)

    assert diff.is_empty
    assert diff.unchanged == (wanted[0],)
    assert str(diff) == "nothing to do: 1 unchanged"


def test_added_changed_and_removed_are_told_by_name_and_field() -> None:
    stored = [subscription("gone"), subscription("same"), subscription("moved", {"severity": ["SEV-1"]})]
    wanted = [
        subscription("new", tenant="*"),
        subscription("same"),
        subscription(
            "moved",
            {"severity": ["SEV-1", "SEV-2"], "op": "created"},
            enabled=False,
            options={"mention": "@here"},
        ),
    ]

    diff = diff_subscriptions(stored, wanted)

    assert str(diff).splitlines() == [
        "+ new (* to slack)",
        "~ moved",
        "    enabled: true -> false",
        '    match.severity: ["SEV-1"] -> ["SEV-1", "SEV-2"]',
        '    match.op: nothing -> ["created"]',
        '    destination.channel: "C1" -> nothing',
        '    destination.mention: nothing -> "@here"',
        "- gone (acme to slack)",
    ]
    told = diff.to_dict()
    assert msgspec.json.decode(msgspec.json.encode(told)) == told
    assert told["removed"] == ["gone"]
    assert told["unchanged"] == ["same"]
    assert told["added"] == [{"name": "new", **described(wanted[0])}]
    assert {"path": "match.op", "after": ["created"]} in told["changed"][0]["fields"]


def test_a_truth_is_no_number() -> None:
    diff = diff_subscriptions([subscription("a", {"tier": [1]})], [subscription("a", {"tier": [True]})])

    assert [str(one.fields[0]) for one in diff.changed] == ["match.tier: [1] -> [true]"]


def test_a_stored_pattern_of_another_language_is_compared_as_it_is() -> None:
    diff = diff_subscriptions(
        [subscription("a", {"title": [{"regex": "x"}]})], [subscription("a", {"title": ["x"]})]
    )

    assert [str(one.fields[0]) for one in diff.changed] == ['match.title: [{"regex": "x"}] -> ["x"]']
