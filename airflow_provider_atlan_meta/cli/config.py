"""``atlan-meta config list``."""

from __future__ import annotations

import argparse
from typing import Any

from airflow_provider_atlan_meta.cli.output import add_json_flag, emit
from airflow_provider_atlan_meta.config.settings import Settings


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "config", help="the [atlan_meta] settings in force", epilog="example: atlan-meta config list"
    )
    verbs = parser.add_subparsers(dest="config_verb", metavar="VERB", required=True)
    listing = verbs.add_parser(
        "list",
        help="every setting, its value and where it came from",
        epilog="example: AIRFLOW__ATLAN_META__TOPIC_PREFIX=acme atlan-meta config list",
    )
    add_json_flag(listing)
    listing.set_defaults(run=_list)


def _list(args: argparse.Namespace) -> int:
    rows = [
        {"name": r.setting.name, "value": r.value, "origin": r.origin, "description": r.setting.description}
        for r in Settings().all()
    ]
    width = max(len(row["name"]) for row in rows)
    text = "\n".join(f"{row['name']:{width}}  {row['value'] or '-':28}  ({row['origin']})" for row in rows)
    emit(rows, as_json=args.json, text=text)
    return 0
