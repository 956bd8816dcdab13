"""``atlan-meta deliveries``: what was sent to whom, what waits, and why."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_provider_atlan_meta.cli.output import add_json_flag, aligned, emit, spelled_time
from airflow_provider_atlan_meta.config.connections import POSTGRES_READER, Connections
from airflow_provider_atlan_meta.core.deliveries import FINAL
from airflow_provider_atlan_meta.core.receipts import MAX_RECEIPTS, Readable, Receipt, ReceiptQuery

if TYPE_CHECKING:
    from collections.abc import Sequence

_STATES = ("claimed", "parked", *FINAL)


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "deliveries",
        help="what was sent to whom, what waits, and why; the newest first",
        epilog="example: atlan-meta deliveries --subscription incidents-to-slack --state parked",
    )
    parser.add_argument("--change", type=_uuid, metavar="ID", help="of this change_id")
    parser.add_argument("--incident", default="", metavar="ID", help="of this incident's changes")
    parser.add_argument(
        "--subscription", default="", metavar="NAME", help="to this subscription, be it removed"
    )
    parser.add_argument("--state", choices=_STATES, help="claimed and parked ones are not final yet")
    parser.add_argument("--tenant", default="", help="of this tenant")
    parser.add_argument(
        "--limit",
        type=_limit,
        default=50,
        metavar="N",
        help=f"at most N, up to {MAX_RECEIPTS:,} (%(default)s)",
    )
    parser.add_argument(
        "--conn-id", default=POSTGRES_READER, help="store connection, role meta_reader (%(default)s)"
    )
    add_json_flag(parser)
    parser.set_defaults(run=_deliveries)


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is no change_id, which is a UUID; an incident's id goes to --incident"
        ) from None


def _limit(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_RECEIPTS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text[:20]!r} is not between 1 and {MAX_RECEIPTS}")


def _deliveries(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services.subscriptions import read_receipts

    query = ReceiptQuery(
        change_id=args.change or "",
        incident=args.incident,
        subscription=args.subscription,
        state=args.state,
        tenant=args.tenant,
        limit=args.limit,
    )
    readable, receipts = read_receipts(Connections().get(args.conn_id), query)
    text = _table(receipts, args.limit) if receipts else _none(readable, query)
    emit([receipt.to_dict() for receipt in receipts], as_json=args.json, text=text)
    return 0


def _table(receipts: Sequence[Receipt], limit: int) -> str:
    titles = ("when", "state", "tries", "to", "of", "revision", "told")
    table = aligned([titles, *map(_row, receipts)])
    return f"{table}\nthese are the newest {limit}; --limit shows more" if len(receipts) == limit else table


def _row(one: Receipt) -> tuple[str, ...]:
    told = [f"status {one.status}" if one.status else "", one.detail, one.external_id]
    told.append(f"{one.folded} doubles taken away" if one.folded else "")
    return (
        spelled_time(one.settled_at or one.at),
        one.state,
        str(one.attempts),
        f"{one.subscription}/{one.part}" if one.part else one.subscription,
        f"{one.subject.tenant_id} {one.subject.kind} {one.subject.id}",
        str(one.revision),
        "; ".join(text for text in told if text),
    )


def _none(readable: Readable, query: ReceiptQuery) -> str:
    if query.tenant and readable.hides(query.tenant):
        return f"no deliveries: tenant {query.tenant} is not one this connection may see{readable.hint}"
    asked = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in vars(query).items()
        if value and name != "limit"
    ]
    return f"no deliveries{' of ' if asked else ''}{', '.join(asked)}{readable.hint}"
