"""Monte Carlo's names of a table become its name in the catalog, always the same one."""

from __future__ import annotations

import json
import string
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_atlan_meta.core import identity
from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.mapping import (
    CASES,
    Mappings,
    Provisional,
    Resolved,
    WarehouseMapping,
    fits,
    parse_mcon,
)
from airflow_provider_atlan_meta.core.montecarlo import provisional_entity
from airflow_provider_atlan_meta.core.templates import Case, Naming, TemplateError

CASES_OF_MCON = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "montecarlo" / "mcon_cases.json").read_text()
)
ACCOUNT = "3f1c1c2e-5a0b-4c55-9c1d-0a6b7e4f2a10"
WAREHOUSE = "7d0c2f8a-93f6-4b0e-8d1e-5f6b1f0a9c21"
OTHER = "11111111-2222-3333-4444-555555555555"
ORDERS = f"MCON++{ACCOUNT}++{WAREHOUSE}++table++analytics:sales.orders"
ATLAN = "default/snowflake/{epoch}/{DATABASE}/{SCHEMA}/{TABLE}"


def rule(name: str = "snow", **fields: Any) -> WarehouseMapping:
    told = {
        "tenant": "acme",
        "warehouse": WAREHOUSE,
        "account": ACCOUNT,
        "groups": ("*",),
        "platform": "snowflake",
        "values": (("cluster", "prod"), ("epoch", "1650000000")),
        **fields,
    }
    return WarehouseMapping(name=name, **told)


def named(mappings: Mappings, group: str | None = "analytics:sales", table: str = "orders") -> str:
    return mappings.resolve("acme", ACCOUNT, group, table).entity.qualified_name


# ---- MCON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES_OF_MCON, ids=lambda case: case["mcon"][-30:])
def test_an_mcon_is_taken_apart_as_monte_carlo_s_own_client_does(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(RejectedError, match="malformed"):
            parse_mcon(case["mcon"])
        return
    mcon = parse_mcon(case["mcon"])

    assert (mcon.account, mcon.warehouse) == (ACCOUNT, WAREHOUSE)
    assert (mcon.object_type, mcon.object_id) == (case["object_type"], case["object_id"])
    assert (mcon.database, mcon.schema, mcon.name) == (case["database"], case["schema"], case["name"])


@given(
    st.text(max_size=60)
    | st.lists(st.text(max_size=8), max_size=7).map(lambda parts: "MCON++" + "++".join(parts))
)
def test_whatever_is_no_mcon_is_rejected_and_nothing_else_is_raised(text: str) -> None:
    for ask in (parse_mcon, lambda text: Mappings([rule()]).resolve_mcon("acme", text)):
        with suppress(RejectedError):
            ask(text)


@pytest.mark.parametrize("kind", ["project", "dataset", "field"])
def test_an_mcon_of_no_table_is_rejected_by_its_reason(kind: str) -> None:
    with pytest.raises(RejectedError, match="MCON names no table"):
        Mappings([rule()]).resolve_mcon("acme", ORDERS.replace("++table++", f"++{kind}++"))


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "qualified_name"),
    [
        ({}, "analytics.sales.orders@prod"),
        ({"dialect": "atlan"}, "default/snowflake/1650000000/analytics/sales/orders"),
        ({"dialect": "atlan", "case": "upper"}, "default/snowflake/1650000000/ANALYTICS/SALES/ORDERS"),
        ({"naming": ATLAN}, "default/snowflake/1650000000/ANALYTICS/SALES/ORDERS"),
        ({"naming": "{schema}.{table}@{cluster}", "platform": "hive"}, "sales.orders@prod"),
        ({"naming": "100%{{{platform}}}/{schema}/{table}"}, "100%{snowflake}/sales/orders"),
    ],
    ids=str,
)
def test_a_table_is_called_as_its_warehouse_s_template_says(
    fields: dict[str, Any], qualified_name: str
) -> None:
    assert named(Mappings([rule(**fields)])) == qualified_name


def test_a_table_has_one_entity_whichever_way_monte_carlo_names_it() -> None:
    mappings = Mappings([rule(dialect="atlan", case="upper")])

    by_webhook = mappings.resolve("acme", ACCOUNT, "analytics:sales", "orders")

    assert by_webhook == mappings.resolve_mcon("acme", ORDERS)
    assert isinstance(by_webhook, Resolved)
    assert by_webhook.mapping == "snow"
    entity = by_webhook.entity
    assert entity.entity_id == identity.entity_id("acme", "snowflake", entity.qualified_name)
    assert (entity.name, entity.database_name, entity.schema_name) == ("ORDERS", "ANALYTICS", "SALES")
    assert (entity.tenant_id, entity.type_name, entity.platform) == ("acme", "table", "snowflake")


def test_what_differs_only_by_case_is_one_table_where_the_warehouse_folds() -> None:
    folding, keeping = Mappings([rule(case="upper")]), Mappings([rule()])

    assert named(folding, table="Orders") == named(folding, table="orders")
    assert named(keeping, table="Orders") != named(keeping, table="orders")


@pytest.mark.parametrize("group", ["analytics:sales", "analytics", "", None])
def test_without_a_mapping_a_table_stays_what_it_was_provisionally(group: str | None) -> None:
    for mappings in (Mappings(), Mappings([rule(tenant="globex")]), Mappings([rule(account="other")])):
        found = mappings.resolve("acme", ACCOUNT, group, "orders")

        assert isinstance(found, Provisional)
        assert found.entity == provisional_entity("acme", ACCOUNT, group, "orders")
        assert found.entity.qualified_name == f"mc:{ACCOUNT}:{group or ''}.orders"


def test_an_mcon_without_a_mapping_has_the_provisional_name_of_its_webhooks() -> None:
    assert Mappings().resolve_mcon("acme", ORDERS) == Mappings().resolve(
        "acme", ACCOUNT, "analytics:sales", "orders"
    )


@pytest.mark.parametrize(("group", "lacks"), [(None, "database"), ("analytics", "schema")])
def test_a_table_without_what_the_template_names_stays_provisional_and_says_why(
    group: str | None, lacks: str
) -> None:
    found = Mappings([rule()]).resolve("acme", ACCOUNT, group, "orders")

    assert found == Provisional(
        provisional_entity("acme", ACCOUNT, group, "orders"), f"mapping snow needs its {lacks}"
    )


# ---- which rule ------------------------------------------------------------------------------------------------------


def test_the_rule_that_says_most_of_the_group_decides() -> None:
    rules = [
        rule("any", warehouse="", groups=("*",), naming="any.{table}"),
        rule("analytics", warehouse="", groups=("analytics:*",), naming="analytics.{table}"),
        rule("sales", warehouse="", groups=("analytics:sales",), naming="sales.{table}"),
    ]

    for order in (rules, rules[::-1]):
        mappings = Mappings(order)
        assert [named(mappings, group) for group in ("analytics:sales", "analytics:hr", "x", None)] == [
            *("sales.orders", "analytics.orders", "any.orders", "any.orders")
        ]


def test_an_mcon_s_warehouse_comes_before_its_group() -> None:
    mappings = Mappings(
        [
            rule("by-group", warehouse="", naming="group.{table}"),
            rule("by-warehouse", account="", groups=(), naming="warehouse.{table}"),
        ]
    )

    assert mappings.resolve_mcon("acme", ORDERS).entity.qualified_name == "warehouse.orders"
    elsewhere = ORDERS.replace(WAREHOUSE, OTHER)
    assert mappings.resolve_mcon("acme", elsewhere).entity.qualified_name == "group.orders"
    assert named(mappings) == "group.orders"


def _by_search(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(_by_search(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return text[:1] == pattern[0] and _by_search(pattern[1:], text[1:])


@given(st.text("ab*", max_size=7), st.text("ab", max_size=8))
def test_a_pattern_fits_exactly_what_trying_every_way_finds(pattern: str, text: str) -> None:
    assert fits(pattern, text) == _by_search(pattern, text)


# ---- what holds for every name ---------------------------------------------------------------------------------------

PLAIN = st.text(string.ascii_letters + string.digits + "_-é", min_size=1, max_size=6)
TABLE = st.tuples(PLAIN, PLAIN, PLAIN)
ANY_PARTS = st.tuples(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
TEMPLATES = ["{database}.{schema}.{table}@{cluster}", "default/snow/1/{database}/{schema}/{table}"]


@given(TABLE, TABLE, st.sampled_from(TEMPLATES), st.sampled_from(CASES))
def test_two_tables_have_one_name_exactly_when_the_warehouse_cannot_tell_them_apart(
    one: tuple[str, str, str], other: tuple[str, str, str], template: str, case: Case
) -> None:
    mappings = Mappings([rule(naming=template, case=case)])
    fold = Naming(template, {"cluster": "prod"}, case).fold
    entities = [mappings.resolve("acme", ACCOUNT, f"{d}:{s}", t).entity for d, s, t in (one, other)]

    assert (entities[0].entity_id == entities[1].entity_id) == (fold(one) == fold(other))
    assert (entities[0] == entities[1]) == (fold(one) == fold(other))


@given(ANY_PARTS, st.sampled_from(CASES))
def test_what_is_folded_stays_as_it_is(parts: tuple[str, str, str], case: Case) -> None:
    fold = Naming("{table}", {}, case).fold

    assert fold(fold(parts)) == fold(parts)


@given(st.text(max_size=8), st.text(min_size=1, max_size=6), st.sampled_from([*TEMPLATES, ATLAN]))
def test_a_table_is_resolved_alike_by_whom_and_whenever(group: str, table: str, template: str) -> None:
    rules = [rule(naming=template), rule("other", account="x", naming="{table}")]
    first, second = Mappings(rules, revision=7), Mappings(rules[::-1], revision=7)

    assert first == second
    asked = ("acme", ACCOUNT, group, table)
    assert first.resolve(*asked) == first.resolve(*asked) == second.resolve(*asked)


def test_resolving_a_table_that_was_named_before_takes_no_more_than_2_microseconds() -> None:
    mappings = Mappings([rule(f"r{number:03}", groups=(f"db{number}:*",)) for number in range(200)])
    mappings.resolve("acme", ACCOUNT, "db150:sales", "orders")

    def seconds() -> float:
        begun = time.perf_counter()
        for _ in range(2000):
            mappings.resolve("acme", ACCOUNT, "db150:sales", "orders")
        return (time.perf_counter() - begun) / 2000

    assert min(seconds() for _ in range(20)) <= 2e-6


# ---- templates that cannot be used -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{database}.{schema}", "without {table}"),
        ("{tabel}", "no {tabel}; there are: {database}"),
        ("{Table}", "no {Table}"),
        ("{table}@{cluster}", "{cluster} has no value; give it beside the naming"),
        ("{schema}{table}", "nothing stands between {schema} and {table}"),
        ("{table", "a brace without its other one"),
        ("{table}}", "a brace without its other one"),
        ("{table!r}", "takes nothing behind its name"),
        ("{table:>9}", "takes nothing behind its name"),
        ("{}{table}", "{} names nothing"),
        ("{table.name}", "no {table.name}"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(template: str, told: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Mappings([rule(naming=template, values=())])

    assert told in str(caught.value)
