"""``atlan-meta verify``: what payloads would become under a mapping, before anybody applies it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_atlan_meta.cli.output import add_json_flag, emit
from airflow_provider_atlan_meta.config.connections import POSTGRES_READER, Connections

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.core.mapping import Mappings
    from airflow_provider_atlan_meta.services.verify import NamedTable, Verified, VerifiedPayload


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "verify",
        help="what payloads become under a mapping, as a difference to their golden files or to the stored mapping",
        description="Reads bodies of webhooks, a .json file each, and says what their tables are called. A golden "
        "file NAME.entities.json beside NAME.json says what is expected. Exit code 1: some differ from their golden "
        "files; 3: some are no webhooks.",
        epilog="example: atlan-meta verify payloads -f mapping.yaml",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder of webhook bodies")
    parser.add_argument(
        "-f",
        "--file",
        type=Path,
        help="ask the mapping of this file, instead of the stored one; needs no store",
    )
    parser.add_argument(
        "--stored",
        action="store_true",
        help="with -f: compare with the stored mapping where no golden file is",
    )
    parser.add_argument("--write", action="store_true", help="write what is found as the golden files")
    parser.add_argument("--tenant", default="", help="whose payloads they are (the mapping's only tenant)")
    parser.add_argument(
        "--conn-id", default=POSTGRES_READER, help="store connection, role meta_reader (%(default)s)"
    )
    add_json_flag(parser)
    parser.set_defaults(run=_verify)


def _verify(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.config.mappings import read_mappings
    from airflow_provider_atlan_meta.core.mapping import Mappings
    from airflow_provider_atlan_meta.services.verify import tenant_of, verify

    against = None
    if args.file is None:
        mappings = _stored(args.conn_id)
    else:
        mappings = Mappings(read_mappings(args.file))
        against = _stored(args.conn_id) if args.stored else None
    tenant = tenant_of([mappings, *([against] if against else [])], args.tenant)
    verified = verify(args.directory, mappings, tenant=tenant, against=against, write=args.write)
    emit(verified.to_dict(), as_json=args.json, text="\n".join(_told(verified)))
    if verified.rejected:
        return 3
    return 1 if verified.unexpected and not args.write else 0


def _stored(conn_id: str) -> Mappings:
    from airflow_provider_atlan_meta.services.mappings import load_mappings

    found = load_mappings(Connections().get(conn_id))
    for name, problem in found.unusable.items():
        print(f"atlan-meta: mapping {name} cannot be used: {problem}", file=sys.stderr)
    return found.mappings


def _told(verified: Verified) -> Iterator[str]:
    for one in verified.payloads:
        yield one.file
        yield from _payload_lines(one)
    said = verified.to_dict()
    counts = [f"{len(verified.payloads)} payloads", f"{said['tables']} tables"]
    counts += [f"{said[name]} {words}" for name, words in _COUNTS if said[name]]
    yield ", ".join(counts)


_COUNTS = (
    ("provisional", "of them provisional"),
    ("changed", "payloads differ"),
    ("rejected", "rejected"),
)


def _payload_lines(one: VerifiedPayload) -> Iterator[str]:
    if one.rejected:
        yield f"  ! rejected: {one.rejected}"
        return
    different = {table: (before, after) for table, before, after in one.differences()}
    for table in one.tables:
        if table.table not in different:
            yield f"    {table.table} -> {_called(table)}"
    for name, (before, after) in different.items():
        yield f"  ~ {name}"
        if before:
            yield f"      - {before.qualified_name} ({before.platform})"
        if after:
            yield f"      + {_called(after)}"
    if not one.tables and not different:
        yield "    names no table"


def _called(table: NamedTable) -> str:
    why = f"by {table.by}" if table.by else f"provisional: {table.reason}"
    return f"{table.qualified_name} ({table.platform}, {why})"
