"""``atlan-meta mapping apply|list``: how the tables of a warehouse are called in the catalog."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_atlan_meta.cli.actor import actor_of, add_actor_option
from airflow_provider_atlan_meta.cli.output import add_json_flag, aligned, emit, spelled_time
from airflow_provider_atlan_meta.cli.verbs import add_verbs
from airflow_provider_atlan_meta.config.connections import POSTGRES_CONSUMER, POSTGRES_READER, Connections

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.core.stored_mappings import AppliedMappings
    from airflow_provider_atlan_meta.services.mappings import ListedMapping

_VERBS = (
    (
        "apply",
        "make the stored mappings exactly those of a file; all or none",
        "mapping apply -f mapping.yaml --dry-run",
    ),
    ("list", "every mapping: which tables it names, and how", "mapping list"),
)


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "mapping",
        help="how the tables of a warehouse are called in the catalog",
        epilog="example: atlan-meta verify payloads -f mapping.yaml && atlan-meta mapping apply -f mapping.yaml",
    )
    made = add_verbs(parser, "mapping_verb", _VERBS)
    for verb, one in made.items():
        default, role = (
            (POSTGRES_CONSUMER, "meta_consumer") if verb == "apply" else (POSTGRES_READER, "meta_reader")
        )
        one.add_argument("--conn-id", default=default, help=f"store connection, role {role} (%(default)s)")
        add_json_flag(one)
    apply = made["apply"]
    apply.add_argument(
        "-f", "--file", type=Path, required=True, help="YAML file; what it does not name is removed"
    )
    apply.add_argument("--dry-run", action="store_true", help="say what would change; change nothing")
    add_actor_option(apply)
    apply.set_defaults(run=_apply)
    made["list"].set_defaults(run=_list)


def _apply(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.config.mappings import read_mappings
    from airflow_provider_atlan_meta.services.mappings import apply_mappings

    wanted = read_mappings(args.file)
    applied = apply_mappings(
        Connections().get(args.conn_id), wanted, actor=actor_of(args), dry_run=args.dry_run
    )
    emit(applied.to_dict(), as_json=args.json, text=_applied(applied))
    return 0


def _applied(applied: AppliedMappings) -> str:
    diff = applied.diff
    lines = [str(diff)]
    if not diff.is_empty:
        parts = (diff.added, diff.changed, diff.removed, diff.unchanged)
        words = ("added", "changed", "removed", "unchanged")
        counts = ", ".join(f"{len(part)} {word}" for part, word in zip(parts, words, strict=True))
        lines.append(f"{'nothing was applied yet' if applied.dry_run else 'applied'}: {counts}")
    return "\n".join(lines)


def _list(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services.mappings import list_mappings

    listed = list_mappings(Connections().get(args.conn_id))
    titles = ("name", "tenant", "platform", "found by", "called", "case", "revision", "applied", "state")
    nothing = "no mappings of the tenants that this connection sees: every table is provisional"
    text = aligned([titles, *map(_row, listed)]) if listed else nothing
    emit([one.to_dict() for one in listed], as_json=args.json, text=text)
    return 0


def _row(one: ListedMapping) -> tuple[str, ...]:
    from airflow_provider_atlan_meta.core.mapping import NAMINGS

    row = one.row
    spec = row.spec if isinstance(row.spec, dict) else {}
    found_by = [f"warehouse {spec['warehouse']}"] if spec.get("warehouse") else []
    if spec.get("account"):
        found_by.append(f"account {spec['account']} {' '.join(map(str, spec.get('groups', ())))}")
    return (
        row.name,
        row.tenant,
        str(spec.get("platform", "-")),
        ", ".join(found_by) or "-",
        str(spec.get("naming") or NAMINGS.get(str(spec.get("dialect")), "-")),
        str(spec.get("case", "-")),
        str(row.revision),
        spelled_time(row.applied_at),
        f"unusable: {one.problem}" if one.problem else "used",
    )
