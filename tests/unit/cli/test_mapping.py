"""``atlan-meta mapping`` and ``atlan-meta verify``: what they print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_atlan_meta.cli import main
from airflow_provider_atlan_meta.services import mappings
from airflow_provider_atlan_meta.testing.memory_mappings import MemoryMappings

Capture = pytest.CaptureFixture[str]
ACCOUNT = "3f1c1c2e-5a0b-4c55-9c1d-0a6b7e4f2a10"
FILE = f"""\
warehouses:
  - name: snow
    tenant: acme
    account: {ACCOUNT}
    groups: ["analytics:*"]
    platform: snowflake
    cluster: prod
"""
PROVISIONAL = f"mc:{ACCOUNT}:analytics:sales.orders"
NAMED = "analytics.sales.orders@prod"


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> MemoryMappings:
    store = MemoryMappings()
    monkeypatch.setattr(mappings, "PostgresMappings", lambda *_, **__: store)
    for name in ("CONSUMER", "READER"):
        monkeypatch.setenv(f"AIRFLOW_CONN_ATLAN_META_POSTGRES_{name}", "postgres://u:p@127.0.0.1:1/db")
    return store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mapping.yaml"
    path.write_text(FILE)
    return path


def body(table: str | None = "orders", group: str | None = "analytics:sales", **fields: Any) -> str:
    payload = {"incident_id": "inc-1", "group_id": group, "event_list": [{"table_name": table}], **fields}
    return json.dumps({"account": {"id": ACCOUNT}, "type": "open_anomaly_incident", "payload": payload})


@pytest.fixture
def payloads(tmp_path: Path) -> Path:
    folder = tmp_path / "payloads"
    folder.mkdir()
    (folder / "orders.json").write_text(body())
    return folder


def golden(payloads: Path, *names: str) -> None:
    told = [
        {"table": "analytics:sales.orders", "platform": "snowflake", "qualified_name": name} for name in names
    ]
    (payloads / "orders.entities.json").write_text(json.dumps(told))


def run(capsys: Capture, *argv: str | Path) -> tuple[int, list[str]]:
    code = main([str(word) for word in argv])
    return code, capsys.readouterr().out.splitlines()


# ---- mapping ---------------------------------------------------------------------------------------------------------


def test_applying_a_file_says_what_changed_and_who_did_it_is_audited(
    file: Path, fake: MemoryMappings, capsys: Capture
) -> None:
    added = ["+ snow (tables of acme)"]
    planned = run(capsys, "mapping", "apply", "-f", file, "--dry-run")
    assert planned == (0, [*added, "nothing was applied yet: 1 added, 0 changed, 0 removed, 0 unchanged"])
    assert fake.rows() == []

    done = run(capsys, "mapping", "apply", "-f", file, "--actor", "dana")

    assert done == (0, [*added, "applied: 1 added, 0 changed, 0 removed, 0 unchanged"])
    assert [(entry.actor, entry.action) for entry in fake.audit] == [("dana", "mapping.add")]
    assert run(capsys, "mapping", "apply", "-f", file) == (0, ["nothing to do: 1 unchanged"])


def test_a_wrong_file_is_told_with_its_line_and_nothing_is_applied(
    file: Path, fake: MemoryMappings, capsys: Capture
) -> None:
    file.write_text(FILE.replace("cluster: prod", "case: uper"))

    assert main(["mapping", "apply", "-f", str(file)]) == 2

    assert f"{file}:7: no case \"uper\"; did you mean 'upper'?" in capsys.readouterr().err
    assert fake.rows() == []


def test_every_mapping_is_listed_with_how_its_tables_are_called(
    file: Path, fake: MemoryMappings, capsys: Capture
) -> None:
    run(capsys, "mapping", "apply", "-f", file, "--actor", "dana")
    fake.store_by_hand("odd", tenant="acme", spec=["?"])

    _, (_, odd, snow) = run(capsys, "mapping", "list")

    assert "unusable: its spec is not what apply writes" in odd
    assert f"account {ACCOUNT} analytics:*  {{database}}.{{schema}}.{{table}}@{{cluster}}  keep" in snow
    _, (text,) = run(capsys, "mapping", "list", "--json")
    assert [(one["name"], one["problem"] == "", one["applied_by"]) for one in json.loads(text)] == [
        ("odd", False, ""),
        ("snow", True, "dana"),
    ]


def test_without_mappings_that_is_said(capsys: Capture) -> None:
    assert run(capsys, "mapping", "list")[1] == [
        "no mappings of the tenants that this connection sees: every table is provisional"
    ]


# ---- verify ----------------------------------------------------------------------------------------------------------


def test_a_payload_s_tables_are_told_under_a_file_without_a_store(
    payloads: Path, file: Path, fake: MemoryMappings, capsys: Capture
) -> None:
    fake.is_down = True
    (payloads / "other.json").write_text(body(group="raw:x"))
    (payloads / "rule.json").write_text(body(table=None))

    assert run(capsys, "verify", payloads, "-f", file) == (
        0,
        [
            "orders.json",
            f"    analytics:sales.orders -> {NAMED} (snowflake, by snow)",
            "other.json",
            f"    raw:x.orders -> mc:{ACCOUNT}:raw:x.orders (montecarlo, provisional: no mapping of its warehouse)",
            "rule.json",
            "    names no table",
            "3 payloads, 2 tables, 1 of them provisional",
        ],
    )


def test_what_differs_from_a_golden_file_is_shown_and_fails(
    payloads: Path, file: Path, capsys: Capture
) -> None:
    golden(payloads, NAMED)
    assert run(capsys, "verify", payloads, "-f", file)[0] == 0
    golden(payloads, "analytics.sales.orders@test")

    assert run(capsys, "verify", payloads, "-f", file) == (
        1,
        [
            "orders.json",
            "  ~ analytics:sales.orders",
            "      - analytics.sales.orders@test (snowflake)",
            f"      + {NAMED} (snowflake, by snow)",
            "1 payloads, 1 tables, 1 payloads differ",
        ],
    )


def test_a_table_that_a_golden_file_has_and_the_payload_has_not_is_a_difference(
    payloads: Path, file: Path, capsys: Capture
) -> None:
    golden(payloads, NAMED)
    (payloads / "orders.json").write_text(body(table=None))

    code, lines = run(capsys, "verify", payloads, "-f", file)

    assert code == 1
    assert lines[1:3] == ["  ~ analytics:sales.orders", f"      - {NAMED} (snowflake)"]


def test_golden_files_are_written_and_then_agree(payloads: Path, file: Path, capsys: Capture) -> None:
    golden(payloads, "old")

    assert run(capsys, "verify", payloads, "-f", file, "--write")[0] == 0

    code, (_, line, _) = run(capsys, "verify", payloads, "-f", file)
    assert (code, line) == (0, f"    analytics:sales.orders -> {NAMED} (snowflake, by snow)")


def test_a_file_is_compared_with_what_is_stored(
    payloads: Path, file: Path, fake: MemoryMappings, capsys: Capture
) -> None:
    code, lines = run(capsys, "verify", payloads, "-f", file, "--stored")

    assert (code, lines[1:4]) == (
        0,
        [
            "  ~ analytics:sales.orders",
            f"      - {PROVISIONAL} (montecarlo)",
            f"      + {NAMED} (snowflake, by snow)",
        ],
    )
    run(capsys, "mapping", "apply", "-f", file)
    assert run(capsys, "verify", payloads, "-f", file, "--stored")[1][-1] == "1 payloads, 1 tables"
    assert NAMED in run(capsys, "verify", payloads)[1][1]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "no webhook"),
        ("[]", "no webhook: Expected `object`, got `array`"),
        ('{"payload": {"incident_id": 7}}', "no webhook: Expected `str | null`, got `int`"),
        ('{"type": "\udcff"}', "payload is not UTF-8"),
        ("[" * 2000, "no webhook"),
        (" " * ((1 << 20) + 1), "larger than 1 MiB: the producer answers 413"),
    ],
    ids=lambda text: text[:20],
)
def test_payloads_that_are_no_webhooks_are_told_and_do_not_stop_the_others(
    payloads: Path, file: Path, capsys: Capture, content: str, told: str
) -> None:
    (payloads / "bad.json").write_bytes(content.encode("utf-8", "surrogateescape"))

    code, lines = run(capsys, "verify", payloads, "-f", file)

    assert code == 3
    assert lines[:2] == ["bad.json", lines[1]]
    assert lines[1].startswith(f"  ! rejected: {told}")
    assert lines[-1] == "2 payloads, 1 tables, 1 rejected"
    _, (text,) = run(capsys, "verify", payloads, "-f", file, "--json")
    bad, good = json.loads(text)["payloads"]
    assert bad["rejected"].startswith(told)
    assert good["entities"] == [
        {
            "table": "analytics:sales.orders",
            "platform": "snowflake",
            "qualified_name": NAMED,
            "mapping": "snow",
            "reason": "",
        }
    ]


@pytest.mark.parametrize(
    ("golden_text", "argv", "told"),
    [
        ("{}}", [], "is no golden file"),
        ('[{"table": 1}]', [], "is no golden file"),
        ('[{"colour": "red"}]', [], "written anew with --write"),
        ("[]", ["--tenant", "acme"], ""),
    ],
)
def test_a_golden_file_that_is_none_is_told_with_the_cure(
    payloads: Path, file: Path, capsys: Capture, golden_text: str, argv: list[str], told: str
) -> None:
    (payloads / "orders.entities.json").write_text(golden_text)

    code = main(["verify", str(payloads), "-f", str(file), *argv])

    assert code == (2 if told else 1)
    assert told in capsys.readouterr().err


def test_a_folder_without_payloads_and_payloads_without_a_tenant_are_told_with_the_cure(
    payloads: Path, file: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "empty").mkdir()
    file.write_text(FILE + FILE.partition("\n")[2].replace("snow", "ice").replace("acme", "globex"))

    for argv, told in (
        ([str(tmp_path / "empty"), "--tenant", "acme"], "no payload in"),
        ([str(tmp_path / "none"), "--tenant", "acme"], "cannot be read"),
        ([str(payloads)], "the mapping is about acme, globex; say it with --tenant"),
    ):
        assert main(["verify", *argv, "-f", str(file)]) == 2
        assert told in capsys.readouterr().err
    file.write_text("warehouses: []")
    assert main(["verify", str(payloads), "-f", str(file)]) == 2
    assert "no mapping names one; say it with --tenant" in capsys.readouterr().err
