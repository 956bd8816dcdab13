"""``airflow atlan-meta ARGS...``: one pass-through over the ``atlan-meta`` parser.

Airflow imports this at the start of each of its commands, so nothing of ours is imported before it runs.
"""

from __future__ import annotations

import argparse
import sys

from airflow.cli.cli_config import ActionCommand, Arg


class _Everything(Arg):
    """All that follows, ``--help`` and other options included: our own parser reads them."""

    def __init__(self) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            flags=("arguments",), help="see airflow atlan-meta --help", nargs=argparse.REMAINDER
        )

    def add_to_parser(self, parser: argparse.ArgumentParser) -> None:
        parser.prefix_chars = "\0"  # no argument is an option of Airflow's half, not even -h
        super().add_to_parser(parser)


def airflow_commands() -> list[ActionCommand]:
    """Entry ``cli`` of the provider info."""
    return [
        ActionCommand(
            name="atlan-meta",
            help="Metadata pipeline: Monte Carlo, Kafka, PostgreSQL",
            func=_run,
            args=(_Everything(),),
        )
    ]


def _run(args: argparse.Namespace) -> None:
    from airflow_provider_atlan_meta.cli import main

    sys.exit(main(args.arguments))
