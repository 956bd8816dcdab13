"""``atlan-meta``: one parser, one file per verb.

A verb's module offers ``add_parser(subparsers)`` and sets ``run=function(args) -> int`` on it. Exit codes:
0 done, 1 failed, 2 wrong usage or configuration, 3 done but some records were rejected.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from airflow_provider_atlan_meta import __version__
from airflow_provider_atlan_meta.cli.output import fail
from airflow_provider_atlan_meta.core.errors import (
    AtlanMetaError,
    ConfigurationError,
    FileError,
    PatternError,
)

DONE, FAILED, WRONG_USAGE, SOME_REJECTED = 0, 1, 2, 3

VERBS = (
    "db",
    "topics",
    "ingest",
    "propagate",
    "replay",
    "capture",
    "subscription",
    "mapping",
    "verify",
    "deliveries",
    "dlq",
    "config",
    "bundle_config",
    "sandbox",
    "serve",
)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="atlan-meta",
        description="Real-time metadata pipeline for Apache Airflow.",
        epilog="example: atlan-meta db migrate && atlan-meta topics create && atlan-meta serve ingest",
    )
    parser.add_argument("--version", action="version", version=f"atlan-meta {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        import_module(f"airflow_provider_atlan_meta.cli.{verb}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args))
    except (ConfigurationError, FileError, PatternError) as error:
        return fail(error, WRONG_USAGE, as_json=getattr(args, "json", False))
    except AtlanMetaError as error:
        return fail(error, FAILED, as_json=getattr(args, "json", False))
    except KeyboardInterrupt:
        interrupted = KeyboardInterrupt("interrupted; everything committed so far is kept")
        return fail(interrupted, FAILED, as_json=getattr(args, "json", False))
