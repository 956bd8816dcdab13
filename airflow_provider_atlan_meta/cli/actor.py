"""Who does it, for the audit."""

from __future__ import annotations

import argparse
import getpass
import platform


def add_actor_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--actor", default="", help="who does it, for the audit (login@host)")


def actor_of(args: argparse.Namespace) -> str:
    return args.actor or _login()


def _login() -> str:
    try:
        login = getpass.getuser()
    except (OSError, KeyError):
        # a container's user without a name
        login = "unknown"
    return f"{login}@{platform.node() or 'unknown'}"
