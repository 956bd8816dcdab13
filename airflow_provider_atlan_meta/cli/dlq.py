"""``atlan-meta dlq``: what was set aside, why, and once more."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from airflow_provider_atlan_meta.cli.actor import actor_of, add_actor_option
from airflow_provider_atlan_meta.cli.output import add_json_flag, aligned, emit, spelled_time
from airflow_provider_atlan_meta.cli.verbs import add_verbs
from airflow_provider_atlan_meta.config.connections import POSTGRES, Connections
from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.dead_letters import MAX_LETTERS, LetterQuery, RedriveNote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_atlan_meta.core.dead_letters import LetterGroup, ShownLetter
    from airflow_provider_atlan_meta.pipeline.redrive import Redriven

# of a value on a terminal
_SHOWN_BYTES = 2000


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "dlq",
        help="dead letters: list, show, redrive",
        epilog="example: atlan-meta dlq list && atlan-meta dlq redrive --reason 'mended' --dry-run",
    )
    verbs = add_verbs(
        parser,
        "dlq_verb",
        (
            ("list", "groups of dead letters that fail alike, the newest first", "dlq list --state new"),
            ("show", "dead letters whole, the newest first", "dlq show --fingerprint 0d6b7f2a9c1e4b58"),
            (
                "redrive",
                "store what can be stored now; positions and times stay, so nothing newer is overwritten",
                "dlq redrive --fingerprint 0d6b7f2a9c1e4b58 --reason 'mapping of finance applied'",
            ),
        ),
    )
    for verb, made in verbs.items():
        made.add_argument("--fingerprint", default="", metavar="F", help="that fail like this")
        made.add_argument("--tenant", default="", help="of this tenant")
        _ADDERS[verb](made)
        made.add_argument(
            "--conn-id", default=POSTGRES, help="store connection, role meta_ingest (%(default)s)"
        )
        add_json_flag(made)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topic", default="", help="of records of this topic")
    parser.add_argument("--sink", choices=("postgres", "consumer"), default="", help="set aside by")
    parser.add_argument("--state", choices=("new", "redriven"), help="new: nothing was done yet")


def _add_list(parser: argparse.ArgumentParser) -> None:
    _add_filters(parser)
    parser.add_argument("--limit", type=_limit, default=50, metavar="N", help="groups (%(default)s)")
    parser.set_defaults(run=_list)


def _add_show(parser: argparse.ArgumentParser) -> None:
    _add_filters(parser)
    parser.add_argument("--limit", type=_limit, default=5, metavar="N", help="letters (%(default)s)")
    parser.set_defaults(run=_show)


def _add_redrive(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topic", default="", help="of records of this topic (<topic_prefix>.events.v1)")
    parser.add_argument("--reason", default="", metavar="R", help="why, for the audit; needed")
    parser.add_argument("--dry-run", action="store_true", help="say what could be read now; store nothing")
    parser.add_argument(
        "--notify", action="store_true", help="tell subscribers what changes; else nobody hears of it"
    )
    add_actor_option(parser)
    parser.set_defaults(run=_redrive)


_ADDERS = {"list": _add_list, "show": _add_show, "redrive": _add_redrive}


def _limit(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_LETTERS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text[:20]!r} is not between 1 and {MAX_LETTERS}")


def _query(args: argparse.Namespace) -> LetterQuery:
    return LetterQuery(
        fingerprint=args.fingerprint,
        tenant=args.tenant,
        topic=args.topic,
        sink=args.sink,
        state=args.state,
        limit=args.limit,
    )


def _list(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services.dead_letters import letter_groups

    groups = letter_groups(Connections().get(args.conn_id), _query(args))
    text = _group_table(groups, args.limit) if groups else "no dead letters"
    emit([group.to_dict() for group in groups], as_json=args.json, text=text)
    return 0


def _group_table(groups: Sequence[LetterGroup], limit: int) -> str:
    titles = ("fingerprint", "letters", "state", "set aside by", "topic", "newest", "reason")
    rows = [_group_row(one) for one in groups]
    more = f"\nthese are the newest {limit}; --limit shows more" if len(groups) == limit else ""
    return f"{aligned([titles, *rows])}{more}"


def _group_row(one: LetterGroup) -> tuple[str, ...]:
    return (
        one.fingerprint,
        str(one.letters),
        one.state,
        f"{one.sink} ({one.stage})",
        one.topic,
        spelled_time(one.newest),
        one.reason,
    )


def _show(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.services.dead_letters import shown_letters

    count, letters = shown_letters(Connections().get(args.conn_id), _query(args))
    texts = [_letter_text(one) for one in letters] or ["no dead letters"]
    if count > len(letters):
        texts.append(f"{count - len(letters)} more; --limit shows them")
    emit([_letter_document(one) for one in letters], as_json=args.json, text="\n\n".join(texts))
    return 0


def _letter_document(one: ShownLetter) -> dict[str, Any]:
    letter = one.letter
    return {
        **letter._asdict(),
        "tenant": one.tenant_id,
        "state": one.state,
        "key": _text(letter.key),
        "value": _text(letter.value),
        "headers": [[name, _text(value)] for name, value in letter.headers],
    }


def _letter_text(one: ShownLetter) -> str:
    letter = one.letter
    value = _text(letter.value)
    return "\n".join(
        (
            f"{letter.topic}/{letter.partition} offset {letter.offset}, set aside by {letter.sink} at {letter.at}Z",
            f"  reason       {letter.reason}",
            f"  fingerprint  {letter.fingerprint}, stage {letter.stage}, {one.state}",
            f"  tenant       {one.tenant_id or 'could not be read'}",
            f"  key          {_printable(_text(letter.key))}",
            *(f"  header       {name}: {_printable(_text(header))}" for name, header in letter.headers),
            f"  value        {_printable(value)}",
        )
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _printable(text: str | None) -> str:
    """On one line, and nothing a terminal would obey."""
    if text is None:
        return "none"
    shown = "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text[:_SHOWN_BYTES]
    )
    return shown if len(text) <= _SHOWN_BYTES else f"{shown} ... ({len(text):,} characters; --json has all)"


def _redrive(args: argparse.Namespace) -> int:
    from rich.console import Console

    from airflow_provider_atlan_meta.core.errors import ConfigurationError
    from airflow_provider_atlan_meta.services.dead_letters import redrive_once

    if not args.reason.strip() and not args.dry_run:
        raise ConfigurationError("say why with --reason: it stands in the audit; nothing was redriven")
    topic = args.topic or Settings().topic("events")
    with Console(stderr=True).status("redriving") as status:
        done = redrive_once(
            postgres=Connections().get(args.conn_id),
            query=LetterQuery(fingerprint=args.fingerprint, tenant=args.tenant, topic=topic),
            note=RedriveNote(actor_of(args), args.reason.strip()),
            dry_run=args.dry_run,
            notify=args.notify,
            report=lambda sums: status.update(
                f"redriving: {sums.letters} looked at, {sums.redriven} redriven"
            ),
        )
    emit({"topic": topic, **done.to_dict()}, as_json=args.json, text=_redriven_text(done))
    return 3 if done.rejected else 0


def _redriven_text(done: Redriven) -> str:
    if not done.letters:
        return "no dead letters wait"
    did = "can be read now; nothing was stored" if done.dry_run else f"stored, {done.changes} changes"
    lines = [f"{done.redriven} of {done.letters} dead letters {did}"]
    lines += [f"{number} still fail: {reason}" for reason, number in done.reasons]
    return "\n".join(lines)
