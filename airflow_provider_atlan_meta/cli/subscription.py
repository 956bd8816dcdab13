"""``atlan-meta subscription apply|list|explain``: who hears of which changes, and why."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_atlan_meta.cli.actor import actor_of, add_actor_option
from airflow_provider_atlan_meta.cli.output import add_json_flag, aligned, emit, spelled_time
from airflow_provider_atlan_meta.cli.verbs import add_verbs
from airflow_provider_atlan_meta.config.connections import POSTGRES_CONSUMER, POSTGRES_READER, Connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_atlan_meta.core.routing import Subscription
    from airflow_provider_atlan_meta.core.stored_subscriptions import Applied
    from airflow_provider_atlan_meta.services.explain import Explained
    from airflow_provider_atlan_meta.services.subscriptions import ListedSubscription

_VERBS = (
    (
        "apply",
        "make the stored subscriptions exactly those of a file; all or none",
        "subscription apply -f subscriptions.yaml --dry-run",
    ),
    (
        "list",
        "every subscription: whether it is enabled, what waits for it, when it was last delivered to",
        "subscription list",
    ),
    (
        "explain",
        "which subscriptions hear of a change, each condition with the value that decided",
        "subscription explain --event 0b9d3c8e-2f67-4d0a-8c42-6f1f5f3a7e11",
    ),
)


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "subscription",
        help="who hears of which changes, and why",
        epilog="example: atlan-meta subscription apply -f subscriptions.yaml && atlan-meta subscription list",
    )
    made = add_verbs(parser, "subscription_verb", _VERBS)
    for verb, one in made.items():
        _add_connection(one, writes=verb == "apply")
        add_json_flag(one)
    _add_apply_options(made["apply"])
    _add_explain_options(made["explain"])
    made["apply"].set_defaults(run=_apply)
    made["list"].set_defaults(run=_list)
    made["explain"].set_defaults(run=_explain)


def _add_connection(parser: Any, *, writes: bool) -> None:
    default, role = (POSTGRES_CONSUMER, "meta_consumer") if writes else (POSTGRES_READER, "meta_reader")
    parser.add_argument("--conn-id", default=default, help=f"store connection, role {role} (%(default)s)")


def _add_apply_options(parser: Any) -> None:
    parser.add_argument(
        "-f", "--file", type=Path, required=True, help="YAML file; what it does not name is removed"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would change; change nothing")
    add_actor_option(parser)


def _add_explain_options(parser: Any) -> None:
    parser.add_argument(
        "--event",
        required=True,
        metavar="FILE|ID",
        help="a file with a ChangeEvent as JSON (-: stdin), or the id of a delivered change, an incident, an entity",
    )
    parser.add_argument(
        "-f", "--file", type=Path, help="ask the subscriptions of this file, instead of those that are stored"
    )
    parser.add_argument("--tenant", default="", help="whose row, where several tenants have one of this id")


# ---- apply -----------------------------------------------------------------------------------------------------------


def _apply(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services.subscriptions import apply_subscriptions

    wanted = _read(args.file)
    applied = apply_subscriptions(
        Connections().get(args.conn_id), wanted, actor=actor_of(args), dry_run=args.dry_run
    )
    emit(applied.to_dict(), as_json=args.json, text=_applied(applied))
    return 0


def _read(file: Path) -> tuple[Subscription, ...]:
    from airflow_provider_atlan_meta.config.subscriptions import read_subscriptions
    from airflow_provider_atlan_meta.services.destinations import destination_types

    return read_subscriptions(file, destinations=destination_types())


def _applied(applied: Applied) -> str:
    diff = applied.diff
    lines = [str(diff)]
    lines += [
        f"! {name} {'would be' if applied.dry_run else 'is'} enabled again; it had been disabled: {reason}"
        for name, reason in applied.enabled_again.items()
    ]
    lines += [
        f"! {count} deliveries wait for {name}: nobody sends them any more, they stay as receipts"
        for name, count in applied.abandoned.items()
    ]
    lines += [
        f"! {count} subjects wait for {name}: {'they would be' if applied.dry_run else 'they are'} tried again at once"
        for name, count in applied.resumed.items()
    ]
    if not diff.is_empty:
        counts = ", ".join(
            f"{len(part)} {word}"
            for word, part in (
                ("added", diff.added),
                ("changed", diff.changed),
                ("removed", diff.removed),
                ("unchanged", diff.unchanged),
            )
        )
        lines.append(f"{'nothing was applied yet' if applied.dry_run else 'applied'}: {counts}")
    return "\n".join(lines)


# ---- list ------------------------------------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services.subscriptions import list_subscriptions

    readable, listed = list_subscriptions(Connections().get(args.conn_id))
    text = _listed(listed) if listed else f"no subscriptions{readable.hint}"
    emit([one.to_dict() for one in listed], as_json=args.json, text=text)
    return 0


def _listed(listed: list[ListedSubscription]) -> str:
    titles = ("name", "tenant", "destination", "revision", "parked", "last delivery", "state")
    return aligned([titles, *map(_row, listed)])


def _row(one: ListedSubscription) -> tuple[str, ...]:
    spec = one.subscription.destination
    since = f" since {spelled_time(one.use.disabled_at)}" if one.use.disabled_at else ""
    return (
        one.subscription.name,
        one.subscription.tenant,
        f"{spec.type} {spec.conn_id}",
        str(one.subscription.revision),
        str(one.use.parked),
        spelled_time(one.use.last_delivery),
        one.state if one.state == "enabled" else f"{one.state}{since}: {one.reason}",
    )


# ---- explain ---------------------------------------------------------------------------------------------------------


def _explain(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services import subscriptions
    from airflow_provider_atlan_meta.services.explain import explain_change

    wanted = _read(args.file) if args.file else None
    if wanted is not None and subscriptions.is_file(args.event):
        # needs no store
        explained = explain_change(subscriptions.read_event(args.event), wanted)
    else:
        explained = subscriptions.explain_event(
            Connections().get(args.conn_id), args.event, tenant=args.tenant, subscriptions=wanted
        )
    emit(explained.to_dict(), as_json=args.json, text="\n".join(_explained(explained)))
    return 0


def _explained(explained: Explained) -> Iterator[str]:
    change = explained.found.change
    what = f"{change.kind} {change.id} of {change.tenant_id}, revision {change.revision}, {change.op}"
    changed = f" ({', '.join(change.changed)})" if change.changed else ""
    yield f"{what}{changed}"
    yield f"change {change.change_id}: {explained.found.origin}"
    for one in explained.explanations:
        subscription = explained.subscriptions[one.subscription]
        yield f"\n{one.subscription} (to {subscription.destination.type}): {one.outcome}"
        yield from (f"    {leaf}" for leaf in one.leaves)
        if not one.leaves:
            yield f"    no conditions: every change of {subscription.tenant}"
    for name, problem in explained.unusable.items():
        yield f"\n{name}: cannot be used, so it hears of nothing: {problem}"
    if not explained.explanations and not explained.unusable:
        yield f"\nno subscription of tenant {change.tenant_id} or of every tenant"
