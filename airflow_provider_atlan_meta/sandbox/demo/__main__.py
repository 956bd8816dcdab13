"""``make demo`` and ``make demo-once``.

python -m airflow_provider_atlan_meta.sandbox.demo           live, stays up until Ctrl-C
python -m airflow_provider_atlan_meta.sandbox.demo --once    three passes, checked; exit 0 only if all hold
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from airflow_provider_atlan_meta.core.errors import AtlanMetaError, ConfigurationError
from airflow_provider_atlan_meta.sandbox.demo.dag_pass import dag_pass
from airflow_provider_atlan_meta.sandbox.demo.live import run_live
from airflow_provider_atlan_meta.sandbox.demo.passes import both_pass, service_pass, throttled_pass
from airflow_provider_atlan_meta.sandbox.demo.report import build_report
from airflow_provider_atlan_meta.sandbox.demo.stage import Stage, start_stage
from airflow_provider_atlan_meta.sandbox.home import Home
from airflow_provider_atlan_meta.sandbox.lifecycle import Sandbox

DONE, FAILED, WRONG_USAGE = 0, 1, 2
_FINDINGS_SHOWN = 20


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="demo", description="Webhooks through real Kafka and PostgreSQL to their receivers."
    )
    parser.add_argument("--once", action="store_true", help="three checked passes and a report, then down")
    parser.add_argument("--home", type=Path, help="folder of the sandbox (default .sandbox)")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the webhooks (default: the time)"
    )
    args = parser.parse_args(argv)
    console = Console(highlight=False, soft_wrap=args.once)
    # a terminal that is closed and a CI job that is stopped leave no server behind either
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    home = Home(args.home)
    sandbox = Sandbox(home, report=_Reporter(console))
    was_running = bool(sandbox.running())
    stage: Stage | None = None
    try:
        stage = start_stage(sandbox, seed=args.seed, say=console.print)
        return _checked(stage, console) if args.once else run_live(stage, console)
    except AtlanMetaError as error:
        console.print(f"[red]demo failed:[/] {error}")
        console.print(f"logs: {home.path / 'logs'}")
        return WRONG_USAGE if isinstance(error, ConfigurationError) else FAILED
    except KeyboardInterrupt:
        console.print("interrupted")
        return FAILED
    finally:
        if stage is not None:
            stage.evidence.close()
        if was_running:
            console.print("the sandbox ran before and runs on: atlan-meta sandbox down")
        else:
            sandbox.down()


def _checked(stage: Stage, console: Console) -> int:
    """The three passes and their report."""
    console.print(f"seed {stage.seed}, manifest {stage.manifest}")
    start_seconds = {member.name: member.seconds for member in stage.sandbox.status()}
    for run_pass in (service_pass, throttled_pass, dag_pass, both_pass):
        run_pass(stage)
    verdict = stage.verdict()
    stage.check("all passes: nothing lost", verdict.lost == 0, f"lost {verdict.lost}")
    stage.check("all passes: nothing doubled", verdict.duplicated == 0, f"duplicated {verdict.duplicated}")
    stage.check(
        "all passes: the oracles agree with every row and every call",
        verdict.ok,
        f"{len(verdict.findings)} findings",
    )
    report = build_report(verdict, stage.work, start_seconds)
    path = stage.sandbox.home.path / "demo-report.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    console.print_json(data=report)
    failed = [check for check in stage.checks if not check.ok]
    for finding in verdict.findings[:_FINDINGS_SHOWN]:
        console.print(f"  {finding}", markup=False)
    if not failed:
        console.print(f"[green]all {len(stage.checks)} checks hold[/]; report: {path}")
        return DONE
    console.print(f"[red]{len(failed)} of {len(stage.checks)} checks failed[/]:")
    for check in failed:
        console.print(f"  {check.name}: {check.seen}", markup=False)
    console.print(f"logs: {stage.logs}, manifest: {stage.manifest}, report: {path}")
    return FAILED


class _Reporter:
    """A line per step, without counters."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def __call__(self, member: str, text: str) -> None:
        if not text.startswith("downloaded "):
            seconds = time.monotonic() - self._began
            self._console.print(f"  {member:10} {text} ({seconds:.1f} s)")


if __name__ == "__main__":
    sys.exit(main())
