"""``atlan-meta db migrate|current``."""

from __future__ import annotations

import argparse
from typing import Any

from airflow_provider_atlan_meta.cli.output import add_json_flag, emit
from airflow_provider_atlan_meta.config.connections import POSTGRES_ADMIN, Connections


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
    for parser in (migrate, current):
        parser.add_argument(
            "--conn-id",
            default=POSTGRES_ADMIN,
            help="connection of a superuser of the database (%(default)s)",
        )
        add_json_flag(parser)
    migrate.set_defaults(run=_migrate)
    current.set_defaults(run=_current)


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
