"""A file of subscriptions is taken whole or refused whole, with every problem on its line and no secret repeated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_atlan_meta.config.subscriptions import parse_subscriptions, read_subscriptions
from airflow_provider_atlan_meta.core.errors import ConfigurationError, FileError
from airflow_provider_atlan_meta.core.patterns import Pattern
from airflow_provider_atlan_meta.core.routing import DestinationSpec, DestinationType, Router, Subscription
from airflow_provider_atlan_meta.testing.subscriptions import realistic_changes

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "subscriptions.yaml"
WHOLE = """\
subscriptions:
  - name: a
    tenant: acme
    match: {kind: incident}
    destination: {type: webhook, conn_id: receiver}
"""


def channel(options: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if not str(options["channel"]).startswith("C"):
        yield "channel", "an id, C0123456789, not a name"


DESTINATIONS = {
    "slack": DestinationType(
        conn_id="atlan_meta_slack_default", required=("channel",), optional=("mention",), check=channel
    ),
    "webhook": DestinationType(optional=("dedup_key", "headers")),
}


def parse(text: str) -> tuple[Subscription, ...]:
    return parse_subscriptions(text.encode(), file="s.yaml", destinations=DESTINATIONS)


def problems(text: str) -> list[tuple[int, str]]:
    with pytest.raises(FileError) as caught:
        parse(text)
    return list(caught.value.problems)


def test_a_subscription_says_who_hears_of_what() -> None:
    (one,) = parse(WHOLE)

    assert one == Subscription(
        name="a",
        tenant="acme",
        match=Pattern({"kind": ["incident"]}),
        destination=DestinationSpec(type="webhook", conn_id="receiver", options={}),
    )
    assert one.match.source == {"kind": ["incident"]}
    assert (one.enabled, one.revision) == (True, 0)


def test_a_destination_has_its_own_options_and_a_connection_by_default() -> None:
    (one,) = parse(
        WHOLE.replace("type: webhook, conn_id: receiver", "type: slack, channel: C1, mention: '@here'")
    )

    assert one.destination == DestinationSpec(
        type="slack", conn_id="atlan_meta_slack_default", options={"channel": "C1", "mention": "@here"}
    )


def test_no_subscriptions_are_written_as_an_empty_list() -> None:
    assert parse("subscriptions: []") == ()


def test_the_committed_example_is_taken_and_routes() -> None:
    subscriptions = read_subscriptions(EXAMPLE, destinations=DESTINATIONS)
    router = Router(subscriptions)

    created, *_ = realistic_changes(1, tenant="acme")
    assert [one.name for one in router.route(created)] == ["incidents-to-slack", "acme-everything"]
    assert [one.enabled for one in subscriptions] == [True, True, True, False]


@pytest.mark.parametrize(
    ("before", "after", "line", "said"),
    [
        ("subscriptions:", "subscribtions:", 1, "a list under subscriptions:"),
        ("subscriptions:", "more: 1\nsubscriptions:", 1, "no key \"more\" in the file"),
        ("name: a", "nam: a", 2, "no key \"nam\" in a subscription; did you mean 'name'?"),
        ("name: a", "nam: a", 2, "name is missing"),
        ("name: a", "name: A.b", 2, 'name "A.b" is not 1 to 63 of a-z'),
        ("name: a", "name: 7", 2, "name 7"),
        ("tenant: acme", "tenant: Acme", 3, 'tenant "Acme" is neither a tenant'),
        ("    tenant: acme\n", "", 2, "tenant is missing: a tenant's name, or \"*\" for all"),
        ("tenant: acme", "tenant: *", 3, "a * is an alias to YAML"),
        ("tenant: acme", "tenant: [acme]", 3, "is neither a tenant"),
        ("{kind: incident}", "{kind: incident, statsu: x}", 4, "match.statsu: no column 'statsu' in incident; did"),
        ("{kind: incident}", "\n      title:\n        - {regex: x}", 6, "match.title.0.regex: no operator 'regex'"),
        ("{kind: incident}", "[incident]", 4, "match: a pattern is a mapping of fields"),
        ("    match: {kind: incident}\n", "", 2, "match is missing: which changes; {} is every change"),
        ("type: webhook", "type: webhok", 5, "\"webhok\"; did you mean 'webhook'? there are: slack, webhook"),
        ("type: webhook, ", "", 5, "no destination of type null"),
        ("{type: webhook, conn_id: receiver}", "receiver", 5, "a mapping with type and conn_id"),
        ("    destination: {type: webhook, conn_id: receiver}\n", "", 2, "destination is missing: where to"),
        (", conn_id: receiver", "", 5, "conn_id is missing: the id of the connection"),
        ("conn_id: receiver", "conn_id: 'https://example.com'", 5, "conn_id is the id of a connection"),
        ("conn_id: receiver", "conn_id: 7", 5, "conn_id is the id of a connection"),
        ("conn_id: receiver", "conn_id: receiver, chanel: C1", 5, 'no key "chanel" in a destination of type webhook'),
        ("conn_id: receiver", "conn_id: receiver, url: 'https://x'", 5, '"url" does not stand here; addresses and'),
        ("conn_id: receiver", "conn_id: receiver, token: abc", 5, '"token" does not stand here'),
        ("type: webhook, conn_id: receiver", "type: slack", 5, "channel is missing"),
        ("type: webhook, conn_id: receiver", "type: slack, channel: general", 5, "channel: an id, C0123456789"),
        ("conn_id: receiver}", "conn_id: receiver}\n    enabled: 1", 6, "enabled is true or false, not 1"),
        ("conn_id: receiver}", "conn_id: receiver}\n  - x", 6, "a subscription is a mapping"),
        ("conn_id: receiver}", "conn_id: receiver}\n    name: b", 6, "for the second time, first on line 2"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line_and_its_cure(
    before: str, after: str, line: int, said: str
) -> None:
    assert before in WHOLE
    found = problems(WHOLE.replace(before, after, 1))

    assert any(place == line and said in text for place, text in found), found


def test_an_option_a_destination_declares_may_be_called_key() -> None:
    (one,) = parse(WHOLE.replace("conn_id: receiver", "conn_id: receiver, dedup_key: incident"))

    assert one.destination.options == {"dedup_key": "incident"}


def test_a_name_is_one_subscription_s_own() -> None:
    twice = WHOLE + WHOLE.removeprefix("subscriptions:\n").replace("acme", "globex")

    assert problems(twice) == [(6, "name 'a' is taken already on line 2; each needs its own")]


def test_everything_that_is_wrong_in_a_file_is_told_at_once() -> None:
    text = WHOLE.replace("tenant: acme", "tenant: A").replace("incident", "incidnt").replace("webhook", "x")

    assert [line for line, _ in problems(text)] == [3, 4, 5]
    with pytest.raises(
        FileError, match=r"(?m)^s\.yaml:3: tenant .*\ns\.yaml:4: match\.kind: .*\ns\.yaml:5: "
    ):
        parse(text)


SECRETS = (
    "xoxb-" + "1234567890-abcdef",
    "https://hooks.slack.com/services/" + "T0/B0/abcdef",
    "whsec_" + "C2FVsBQIhrscChlQIMV",
    "https://user:hunter2@example.com",
    "Bearer " + "abcdef0123456789",
    "-----BEGIN " + "PRIVATE KEY-----",
)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "place",
    [
        "{type: webhook, conn_id: SECRET}",
        "{type: webhook, conn_id: receiver, dedup_key: SECRET}",
        "{type: webhook, conn_id: receiver, headers: {Authorization: [SECRET]}}",
        "{type: webhook, conn_id: receiver, SECRET: 1}",
        "{type: SECRET, conn_id: receiver}",
        "SECRET",
    ],
)
def test_a_secret_in_the_file_is_refused_and_never_repeated(place: str, secret: str) -> None:
    text = WHOLE.replace("{type: webhook, conn_id: receiver}", place.replace("SECRET", f'"{secret}"'))

    found = problems(text)

    assert [line for line, _ in found] == [5]
    assert secret[8:] not in str(found)


def test_a_file_that_cannot_be_read_is_named_with_what_it_should_be(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(ConfigurationError, match=r"cannot be read .*begins with subscriptions:"):
            read_subscriptions(path, destinations=DESTINATIONS)


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(FileError, match="larger than 1 MiB"):
        read_subscriptions(Path("/dev/zero"), destinations=DESTINATIONS)


def test_a_thousand_subscriptions_are_taken() -> None:
    entry = WHOLE.removeprefix("subscriptions:\n")
    text = "subscriptions:\n" + "".join(
        entry.replace("name: a", f"name: a{number}") for number in range(1000)
    )

    assert len(parse(text)) == 1000
