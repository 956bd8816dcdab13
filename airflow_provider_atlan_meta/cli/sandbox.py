"""``atlan-meta sandbox``: real servers on loopback from wheels and jars; no Docker, no system Java."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_atlan_meta.cli.output import add_json_flag, emit
from airflow_provider_atlan_meta.core.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox, Status

_VERBS: tuple[tuple[str, str, str], ...] = (
    (
        "up",
        "start servers and wait until they are ready; running ones stay",
        "sandbox up --with serve,airflow",
    ),
    ("status", "what runs, where, since when, how big", "sandbox status --json"),
    ("env", "addresses, passwords, connections", 'eval "$(atlan-meta sandbox env --format shell)"'),
    ("stop", "stop one server in good order", "sandbox stop postgres"),
    ("start", "start it again on its old port and data", "sandbox start postgres"),
    ("kill", "SIGKILL one server and all its processes, as a crash would", "sandbox kill kafka"),
    ("logs", "print the end of a server's log", "sandbox logs kafka --lines 200"),
    ("down", "stop everything; the data stays unless --purge", "sandbox down --purge"),
)


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "sandbox",
        help="real servers on loopback, from wheels and jars",
        epilog="example: atlan-meta sandbox up && atlan-meta sandbox env --format json",
    )
    verbs = parser.add_subparsers(dest="sandbox_verb", metavar="VERB", required=True)
    runs: dict[str, Callable[[argparse.Namespace], int]] = {
        "up": _up, "status": _status, "env": _env, "stop": _change, "start": _change, "kill": _change,
        "logs": _logs, "down": _down,
    }  # fmt: skip
    made = {}
    for verb, summary, example in _VERBS:
        epilog = example if example.startswith("eval") else f"atlan-meta {example}"
        made[verb] = verbs.add_parser(verb, help=summary, description=summary, epilog=f"example: {epilog}")
        made[verb].add_argument(
            "--home", type=Path, metavar="DIR", help="the sandbox's folder (default: .sandbox)"
        )
        made[verb].set_defaults(run=runs[verb])
    _add_options(made)


def _add_options(made: dict[str, Any]) -> None:
    which = made["up"].add_mutually_exclusive_group()
    which.add_argument(
        "--with",
        dest="members",
        metavar="A,B",
        help="these, with what they need (default: postgres,kafka,connect,recorder,serve)",
    )
    which.add_argument("--all", action="store_true", help="every server there is")
    made["up"].add_argument(
        "--tenants",
        type=Path,
        metavar="FILE",
        help="JSON list of {id, montecarlo_webhook_secret, atlan_webhook_secret} instead of three generated tenants",
    )
    for verb in ("stop", "start", "kill", "logs"):
        made[verb].add_argument("name", metavar="NAME", help="a server, e.g. kafka")
    made["logs"].add_argument("--lines", type=int, default=50, help="how many (default: %(default)s)")
    made["env"].add_argument(
        "--format", choices=("shell", "json"), default="shell", help="default: %(default)s"
    )
    made["down"].add_argument("--purge", action="store_true", help="data, ports and secrets go as well")
    for verb in made:
        add_json_flag(made[verb])


def _up(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.cli.sandbox_progress import shown_progress
    from airflow_provider_atlan_meta.sandbox.home import parse_tenants
    from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox
    from airflow_provider_atlan_meta.sandbox.registry import ALL

    tenants = None
    if args.tenants:
        tenants = parse_tenants(_read(args.tenants), f"--tenants {args.tenants}")
    names = (ALL,) if args.all else args.members.split(",") if args.members is not None else None
    with _terminable(), shown_progress() as report:
        states = Sandbox(args.home, report).up(names, tenants)
    _show(states, args)
    return 0


def _status(args: argparse.Namespace) -> int:
    _show(_sandbox(args).status(), args)
    return 0


def _env(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.sandbox import environment

    sandbox = _sandbox(args)
    running = sandbox.running()
    if not running:
        raise ConfigurationError(f"nothing runs in {sandbox.home.path}; `atlan-meta sandbox up` starts it")
    as_json = args.json or args.format == "json"
    text = "" if as_json else environment.shell(sandbox.home, running)
    emit(sandbox.fields(), as_json=as_json, text=text)
    return 0


def _change(args: argparse.Namespace) -> int:
    sandbox = _sandbox(args)
    with _terminable():
        {"stop": sandbox.stop, "start": sandbox.start, "kill": sandbox.kill}[args.sandbox_verb](args.name)
    _show([state for state in sandbox.status() if args.json or state.name == args.name], args)
    return 0


def _logs(args: argparse.Namespace) -> int:
    sandbox = _sandbox(args)
    log = sandbox.home.path / "logs" / f"{args.name}.log"
    if not log.is_file():
        there = ", ".join(sorted(path.stem for path in log.parent.glob("*.log"))) or "none yet"
        raise ConfigurationError(f"no log of {args.name!r} in {sandbox.home.path}; logs: {there}")
    lines = log.read_text(errors="replace").splitlines()[-max(args.lines, 0) :] if args.lines else []
    emit({"log": str(log), "lines": lines}, as_json=args.json, text="\n".join(lines))
    return 0


def _down(args: argparse.Namespace) -> int:
    from airflow_provider_atlan_meta.cli.sandbox_progress import shown_progress
    from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox

    with _terminable(), shown_progress() as report:
        sandbox = Sandbox(args.home, report)
        sandbox.down(purge=args.purge)
    text = f"nothing runs{' and nothing is left' if args.purge else ''} in {sandbox.home.path}"
    emit({"home": str(sandbox.home.path), "purged": args.purge}, as_json=args.json, text=text)
    return 0


def _sandbox(args: argparse.Namespace) -> Sandbox:
    from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox

    sandbox = Sandbox(args.home)
    if not sandbox.home.exists:
        raise ConfigurationError(f"no sandbox in {sandbox.home.path}; `atlan-meta sandbox up` makes one")
    return sandbox


def _show(states: list[Status], args: argparse.Namespace) -> None:
    if args.json:
        emit([dataclasses.asdict(state) for state in states], as_json=True, text="")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("name", "state", "address", "seconds", "MB"):
        table.add_column(title, justify="right" if title in ("seconds", "MB") else "left", no_wrap=True)
    for state in states:
        seconds = "" if state.seconds is None else f"{state.seconds:.1f}"
        table.add_row(state.name, state.state, state.address, seconds, str(state.rss_mb))
    Console(highlight=False).print(table)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP as Ctrl-C: what was started is stopped before the command ends."""

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_number: int, _frame: object) -> None:
        for number in numbers:  # the clearing up is not interrupted by a second Ctrl-C
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    except KeyboardInterrupt:
        print("atlan-meta: interrupted; nothing this command started is left running", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
