"""``atlan-meta db migrate|current|reemit``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from airflow_provider_atlan_meta.cli.moments import moment
from airflow_provider_atlan_meta.cli.output import add_json_flag, emit
from airflow_provider_atlan_meta.config.connections import POSTGRES_ADMIN, Connections
from airflow_provider_atlan_meta.config.settings import Settings


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "db", help="schema meta in PostgreSQL", epilog="example: atlan-meta db migrate"
    )
    verbs = parser.add_subparsers(dest="db_verb", metavar="VERB", required=True)
    migrate = verbs.add_parser(
        "migrate",
        help="create or upgrade schema meta; running it again changes nothing",
        epilog=f"example: AIRFLOW_CONN_{POSTGRES_ADMIN.upper()}=postgres://admin:...@db/meta atlan-meta db migrate",
    )
    current = verbs.add_parser(
        "current",
        help="the revision the schema is at, and the one this version needs; exit 1 where they differ",
        epilog="example: atlan-meta db current --json",
    )
    reemit = verbs.add_parser(
        "reemit",
        help="emit the present state of what changed since a time; for a lost slot `capture recover` does it",
        epilog="example: atlan-meta db reemit --since 2026-11-24T22:00:00Z --dry-run",
    )
    reemit.add_argument(
        "--since", type=moment, required=True, help="until when changes were captured (ISO 8601 with zone)"
    )
    reemit.add_argument("--dry-run", action="store_true", help="count what would be emitted; emit nothing")
    for parser in (migrate, current, reemit):
        parser.add_argument(
            "--conn-id",
            default=POSTGRES_ADMIN,
            help="connection of a superuser of the database (%(default)s)",
        )
        add_json_flag(parser)
    migrate.set_defaults(run=_migrate)
    current.set_defaults(run=_current)
    reemit.set_defaults(run=_reemit)


def _migrate(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.migrations import runner

    revision = runner.migrate(Connections().get(args.conn_id))
    emit({"revision": revision}, as_json=args.json, text=f"schema meta is at revision {revision}")
    return 0


def _current(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.migrations import runner

    revision, head = runner.current(Connections().get(args.conn_id)), runner.head()
    cure = "" if revision == head else "; run `atlan-meta db migrate`"
    emit(
        {"revision": revision, "needed": head},
        as_json=args.json,
        text=f"schema meta is at revision {revision or 'none'}, this version needs {head}{cure}",
    )
    return 0 if revision == head else 1


def _reemit(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services.reemit import ReemitRequest, reemit_changes

    settings = Settings()
    request = ReemitRequest(since=args.since, slot=settings.text("capture_slot"), dry_run=args.dry_run)
    admin = Connections(settings).get(args.conn_id)
    outcome = reemit_changes(admin, request, lambda text: print(text, file=sys.stderr))
    parts = [f"{n} {kind} rows" for kind, n in outcome.rows.items()]
    parts += [f"{n} deleted {kind} rows" for kind, n in outcome.deleted.items()]
    verb = "would emit" if outcome.dry_run else "emitted"
    text = f"{verb} again what changed since {outcome.since.isoformat()}: {', '.join(parts)}"
    emit(outcome.to_dict(), as_json=args.json, text=text)
    return 0
