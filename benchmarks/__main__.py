"""``python -m benchmarks``: runs them, prints a table, keeps ``results/latest.json`` and docs/benchmarks.md.

Exit code 1: a gate was missed by more than 15 %, or a benchmark did not come to an end.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from airflow_provider_atlan_meta.sandbox.home import HOME_VARIABLE
from benchmarks import results
from benchmarks.calibration import calibrate
from benchmarks.results import Row
from benchmarks.stage import servers

# id -> module with run(rounds, quick) -> rows
BENCHMARKS = {
    "B1": "b1_decode",
    "B2": "b2_event_table",
    "B2'": "b2w_write_set",
    "B3": "b3_replay",
    "B4": "b4_micro_batch",
    "B8": "b8_cassandra",
    "B9": "b9_atlas",
    "B11": "b11_webhook",
    "B12": "b12_growth",
    "B17": "b17_rules",
    "B18": "b18_change_capture",
    "B19": "b19_webhooks",
    "B20": "b20_dead_endpoint",
    "B5": "b5_dag_lane",
}
QUICK = ("B1", "B2", "B2'", "B3", "B4", "B8", "B11", "B17", "B18", "B19")
_COLOURS = {"pass": "green", "near": "yellow", "miss": "red", "reported": "dim"}

_out = Console(width=None if sys.stdout.isatty() else 170)
_progress = Console(stderr=True)


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if options.table:
        _write_page(results.load())
        return 0
    chosen = options.only or list(QUICK if options.quick else BENCHMARKS)
    rounds = options.rounds or (3 if options.quick else 5)
    with servers(["postgres", "kafka"]) as sandbox:
        os.environ[HOME_VARIABLE] = str(sandbox.home.path)
        _show_calibration(calibrate())
        rows, failed = _run(chosen, rounds, options.quick)
    earlier = results.load() if results.LATEST.exists() else []
    results.save(results.merged(earlier, rows))
    _write_page(results.load())
    _show(rows)
    for text in (*results.missed(rows), *failed):
        _progress.print(f"[red]missed:[/red] {text}")
    return 1 if failed or results.missed(rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Side by side with peers, in one run."
    )
    parser.add_argument("--quick", action="store_true", help="the short ones, 3 rounds: at most 5 minutes")
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 5, with --quick 3")
    parser.add_argument(
        "--only", type=_ids, metavar="IDS", help=f"comma-separated, of {', '.join(BENCHMARKS)}"
    )
    parser.add_argument(
        "--table", action="store_true", help="only write docs/benchmarks.md from the latest results"
    )
    return parser


def _ids(text: str) -> list[str]:
    ids = [{"B2W": "B2'"}.get(id.strip().upper(), id.strip().upper()) for id in text.split(",")]
    if unknown := [id for id in ids if id not in BENCHMARKS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
    return ids


def _run(chosen: Sequence[str], rounds: int, quick: bool) -> tuple[list[Row], list[str]]:
    """Rows, and what did not come to an end; one that fails does not take the others with it."""
    rows: list[Row] = []
    failed: list[str] = []
    for id in chosen:
        started = time.perf_counter()
        _progress.print(f"{id} ...")
        try:
            made: list[Row] = importlib.import_module(f"benchmarks.{BENCHMARKS[id]}").run(rounds, quick)
        except Exception as error:
            traceback.print_exc()
            failed.append(f"{id}: {type(error).__name__}: {error}")
            continue
        rows += [{**row, "measured": time.strftime("%Y-%m-%d"), "quick": quick} for row in made]
        _progress.print(f"{id} took {time.perf_counter() - started:.0f} s")
    return rows, failed


def _show_calibration(values: dict[str, str]) -> None:
    table = Table("calibration", "", title="This machine, now")
    for name, value in values.items():
        table.add_row(name, value)
    _out.print(table)


def _show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(*("id", "measured / peer", "ours", "peer", "unit", "ratio", "gate", ""))
    for row in rows:
        verdict = results.verdict(row)
        *shown, _ = results.cells(row)
        table.add_row(*shown, f"[{_COLOURS[verdict]}]{verdict}[/]")
    _out.print(table)


def _write_page(rows: Sequence[Row]) -> None:
    results.PAGE.write_text(results.page(results.PAGE.read_text(), rows))


if __name__ == "__main__":
    sys.exit(main())
