"""A file of mappings is taken whole or refused whole, with every problem on its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_atlan_meta.config.mappings import parse_mappings, read_mappings
from airflow_provider_atlan_meta.core.errors import ConfigurationError, FileError
from airflow_provider_atlan_meta.core.mapping import Mappings, WarehouseMapping

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "mapping.yaml"
UUID = "7d0c2f8a-93f6-4b0e-8d1e-5f6b1f0a9c21"
ACCOUNT = "3f1c1c2e-5a0b-4c55-9c1d-0a6b7e4f2a10"
WHOLE = f"""\
warehouses:
  - name: snow
    tenant: acme
    warehouse: {UUID}
    account: {ACCOUNT}
    groups: ["analytics:*", raw]
    platform: snowflake
    dialect: atlan
    naming: default/snowflake/{{epoch}}/{{DATABASE}}/{{SCHEMA}}/{{TABLE}}
    case: upper
    epoch: 1650000000
"""


def parse(text: str) -> tuple[WarehouseMapping, ...]:
    return parse_mappings(text.encode(), file="m.yaml")


def problems(text: str) -> list[tuple[int, str]]:
    with pytest.raises(FileError) as caught:
        parse(text)
    return list(caught.value.problems)


def test_a_warehouse_says_which_tables_and_how_they_are_called() -> None:
    assert parse(WHOLE) == (
        WarehouseMapping(
            name="snow",
            tenant="acme",
            warehouse=UUID,
            account=ACCOUNT,
            groups=("analytics:*", "raw"),
            platform="snowflake",
            dialect="atlan",
            naming="default/snowflake/{epoch}/{DATABASE}/{SCHEMA}/{TABLE}",
            case="upper",
            values=(("epoch", "1650000000"),),
        ),
    )


def test_little_is_enough() -> None:
    text = f"warehouses: [{{name: a, tenant: acme, platform: hive, account: {ACCOUNT}, cluster: prod}}]"

    (one,) = parse(text)

    assert (one.groups, one.dialect, one.case) == (("*",), "atlas", "keep")
    assert Mappings([one]).resolve("acme", ACCOUNT, "a:b", "c").entity.qualified_name == "a.b.c@prod"


def test_a_uuid_is_one_however_it_is_written() -> None:
    assert parse(WHOLE.replace(UUID, UUID.upper())) == parse(WHOLE)


def test_a_file_may_have_none() -> None:
    assert parse("warehouses: []") == ()


@pytest.mark.parametrize(
    ("old", "new", "line", "text"),
    [
        ("name: snow", "name: Snow!", 2, 'name "Snow!" is not 1 to 63'),
        ("tenant: acme", 'tenant: "*"', 3, 'tenant "*" is not a tenant\'s name'),
        ("    tenant: acme\n", "", 2, "tenant is missing: whose tables"),
        ("    platform: snowflake\n", "", 2, "platform is missing: what the warehouse is"),
        (f"warehouse: {UUID}", "warehouse: snow", 4, 'warehouse "snow" is not a UUID, as Monte Carlo\'s'),
        ('["analytics:*", raw]', "raw", 6, 'groups is a list of patterns such as analytics:*, not "raw"'),
        ('["analytics:*", raw]', "[[raw]]", 6, "a group is a text such as"),
        (
            "platform: snowflake",
            "platform: montecarlo",
            7,
            "platform montecarlo is that of tables nobody has",
        ),
        ("dialect: atlan", "dialect: atlann", 8, "did you mean 'atlan'? there are: atlas, atlan"),
        ("case: upper", "case: Upper", 10, "did you mean 'upper'? there are: upper, lower, keep"),
        ("epoch: 1650000000", "epoch: a/b", 11, 'epoch "a/b" is not a word without spaces'),
        ("    epoch: 1650000000\n", "", 9, "naming: {epoch} has no value; give it beside the naming"),
        ("{TABLE}", "{TABEL}", 9, "naming: no {TABEL}; there are: {database}"),
        ("default/snowflake", "snowflake", 9, "Atlan's qualified names begin with default/"),
        ("case: upper", "fold: upper", 10, 'no key "fold" in a warehouse; there are: name, tenant'),
        (f"    account: {ACCOUNT}\n", "", 5, "groups are those of an account: give account, too"),
        ("warehouses:", "mappings:", 1, "a file is a mapping with a list under warehouses:"),
    ],
    ids=str,
)
def test_every_problem_is_told_on_its_line_with_its_cure(old: str, new: str, line: int, text: str) -> None:
    assert old in WHOLE
    told = problems(WHOLE.replace(old, new))

    assert [number for number, _ in told] == [line]
    assert text in told[0][1]


def test_a_warehouse_that_nothing_leads_to_is_refused() -> None:
    told = problems("warehouses: [{name: a, tenant: acme, platform: hive, cluster: prod}]")

    assert [line for line, _ in told] == [1]
    assert "neither warehouse nor account" in told[0][1]


def test_what_two_say_is_refused_with_the_line_of_the_first() -> None:
    second = WHOLE.partition("\n")[2]

    assert problems(WHOLE + second) == [
        (12, "name 'snow' is on line 2 already; each stands once"),
        (14, f"warehouse {UUID} of acme is on line 4 already; each stands once"),
        (16, f"group 'analytics:*' of account {ACCOUNT} of acme is on line 6 already; each stands once"),
        (16, f"group 'raw' of account {ACCOUNT} of acme is on line 6 already; each stands once"),
    ]
    assert len(parse(WHOLE + second.replace("snow\n", "other\n", 1).replace("acme", "globex"))) == 2


def test_all_problems_are_told_at_once() -> None:
    assert [line for line, _ in problems(WHOLE.replace("acme", "A").replace("upper", "no-case"))] == [3, 10]


def test_a_secret_in_a_file_is_not_repeated() -> None:
    told = problems(WHOLE.replace("case: upper", "case: https://u:hunter2@x/"))

    assert "hunter2" not in str(told)


def test_a_file_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name a YAML file that begins with warehouses:"):
        read_mappings(tmp_path / "none.yaml")


def test_the_example_of_this_repository_is_taken() -> None:
    Mappings(read_mappings(EXAMPLE))
