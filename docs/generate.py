"""The parts of README and docs that follow from code: ``make docs`` writes them, a test holds them to the code.

A page marks such a part by a pair of comments::

    <!-- generated: settings -->
    <!-- end -->

Everything between the two is replaced; everything else on the page is written by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import DAG

ROOT = Path(__file__).parents[1]

_PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """Every page a user reads."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def generated(text: str) -> str:
    """The page with its generated parts as the code has them now."""
    return _PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]().strip()}\n\n{part[3]}", text)


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _table(titles: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> str:
    lines = [titles, ("---",) * len(titles), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _code(value: object) -> str:
    return f"`{value}`" if str(value) else "empty"


# ---- settings and metrics ------------------------------------------------------------------------------------------


def _settings() -> str:
    from airflow_provider_atlan_meta.config.settings import SETTINGS

    def rows() -> Iterator[tuple[object, ...]]:
        for setting in SETTINGS:
            example = f" Example: `{setting.example}`." if setting.example else ""
            yield (
                f"`{setting.name}`",
                setting.kind,
                _code(setting.default),
                _cell(setting.description) + example,
            )

    return _table(("setting", "type", "default", "what it is"), rows())


def _metrics() -> str:
    from airflow_provider_atlan_meta.core.metrics import DEFINITIONS

    def rows() -> Iterator[tuple[object, ...]]:
        for metric in DEFINITIONS:
            labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
            yield f"`{metric.name}`", metric.kind, labels, _cell(metric.help)

    return _table(("metric", "kind", "labels", "what it counts"), rows())


# ---- command line --------------------------------------------------------------------------------------------------


def subcommands(parser: argparse.ArgumentParser) -> Mapping[str, tuple[argparse.ArgumentParser, str]]:
    """name -> (its parser, its one-line help), in the parser's order."""
    # argparse has no public way to ask
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}  # noqa: SLF001
            return {name: (child, helps.get(name, "")) for name, child in action.choices.items()}
    return {}


def commands(
    parser: argparse.ArgumentParser, summary: str = ""
) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """Every parser that runs something, with its one-line help; groups that only hold others are left out."""
    children = subcommands(parser)
    if parser.get_default("run") is not None or not children:
        yield parser, summary
    for child, child_summary in children.values():
        yield from commands(child, child_summary)


def _options(parser: argparse.ArgumentParser) -> Iterator[tuple[object, ...]]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to ask
        if isinstance(action, argparse._SubParsersAction | argparse._HelpAction):  # noqa: SLF001
            continue
        value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
        if action.choices is not None and action.metavar is None:
            value = "\\|".join(str(choice) for choice in action.choices)
        name = " ".join(part for part in ("/".join(action.option_strings), str(value)) if part)
        yield f"`{name}`", _cell((action.help or "") % {**vars(action), "prog": parser.prog})


def _cli() -> str:
    from airflow_provider_atlan_meta.cli import build_parser

    sections = []
    for parser, summary in commands(build_parser()):
        lines = [f"### `{parser.prog}`", _sentence(parser.description or summary)]
        if summary and parser.description and parser.description != summary:
            lines.insert(1, _sentence(summary))
        rows = list(_options(parser))
        if rows:
            lines.append(_table(("argument", "what it does"), iter(rows)))
        if parser.epilog:
            lines.append(_example(parser.epilog))
        sections.append("\n\n".join(lines))
    return "\n\n".join(sections)


def _sentence(text: str) -> str:
    text = _cell(text)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _example(epilog: str) -> str:
    return "```console\n$ " + epilog.removeprefix("example: ").strip() + "\n```"


def _cli_overview() -> str:
    from airflow_provider_atlan_meta.cli import build_parser

    return _table(
        ("command", "what it does"),
        ((f"`{parser.prog}`", _sentence(summary)) for parser, summary in commands(build_parser())),
    )


# ---- DAGs ----------------------------------------------------------------------------------------------------------


@cache
def shipped_dags() -> tuple[DAG, ...]:
    """As an installation without any setting builds them."""
    from airflow_provider_atlan_meta.config.settings import Settings
    from airflow_provider_atlan_meta.dag_factory import DagOptions, build_ingest_dag, build_propagate_dag
    from airflow_provider_atlan_meta.reprocessing_dags import build_redrive_dag, build_replay_dag
    from airflow_provider_atlan_meta.source_dags import build_poll_dag

    defaults = Settings({"AIRFLOW_CONFIG": os.devnull})
    options = DagOptions.from_settings(defaults)
    builders = (build_ingest_dag, build_propagate_dag, build_poll_dag, build_replay_dag, build_redrive_dag)
    return tuple(build(options) for build in builders)


def _schedule(dag: DAG) -> str:
    schedule: Any = dag.schedule
    if schedule is None:
        return "by hand"
    cron = getattr(getattr(schedule, "timetable", schedule), "expression", None)
    condition = getattr(schedule, "asset_condition", None)
    assets = [asset.name for asset in condition.objects] if condition is not None else []
    parts = [f"asset `{name}`" for name in assets] + ([f"cron `{cron}`"] if cron else [])
    return " or ".join(parts)


def _dags() -> str:
    def rows() -> Iterator[tuple[object, ...]]:
        for dag in shipped_dags():
            params = " ".join(f"`{name}`" for name in dag.params)
            start = "paused" if dag.is_paused_upon_creation else "on"
            yield f"`{dag.dag_id}`", dag.description, _schedule(dag), dag.max_active_runs, params, start

    return _table(("DAG", "what it does", "runs on", "active runs", "Params", "appears"), rows())


def _params(name: str) -> str:
    """:param name: of the DAG, without the prefix."""

    def rows() -> Iterator[tuple[object, ...]]:
        (dag,) = [dag for dag in shipped_dags() if dag.dag_id.endswith(f"_{name}")]
        for key in dag.params:
            param = dag.params.get_param(key)
            needed = "-" if "null" in param.schema["type"] else "- (needed)"
            default = f"`{json.dumps(param.value)}`" if param.has_value else needed
            yield f"`{key}`", _limits(param.schema), default, _cell(param.description)

    return _table(("Param", "allowed", "default", "what it does"), rows())


def _limits(schema: Mapping[str, Any]) -> str:
    if "minimum" in schema:
        return f"{schema['type']}, {schema['minimum']:,} to {schema['maximum']:,}"
    if "format" in schema:
        return str(schema["format"])
    allowed = schema.get("enum") or schema.get("items", {}).get("enum")
    return f"{schema['type']}: {', '.join(f'`{one}`' for one in allowed)}" if allowed else str(schema["type"])


# ---- destinations --------------------------------------------------------------------------------------------------


def _destinations() -> str:
    from airflow_provider_atlan_meta.core.lanes import ClaimUse, LanePolicy
    from airflow_provider_atlan_meta.services.destinations import DESTINATIONS

    uses = {
        ClaimUse.NEVER: "repeatable",
        ClaimUse.FIRST: "the first call claimed first, then repeatable",
        ClaimUse.EVERY: "every call claimed first",
    }

    def part(name: str, policy: LanePolicy, ops: tuple[str, ...]) -> str:
        heard = f" ({' and '.join(ops)} only)" if ops else ""
        return f"`{name}`{heard}: {uses[policy.claims]}" if name else uses[policy.claims] + heard

    def rows() -> Iterator[tuple[object, ...]]:
        for name, row in DESTINATIONS.items():
            options = [f"`{one}`" for one in row.type.required] + [
                f"`{one}` (optional)" for one in row.type.optional
            ]
            parts = [part(one, policy, row.ops.get(one, ())) for one, policy in row.parts.items()]
            yield (
                f"`{name}`",
                _code(row.type.conn_id) if row.type.conn_id else "has to be named",
                ", ".join(options),
                "; ".join(parts),
                "newest state" if row.sends_state else "every change",
                row.calls_at_once,
            )

    return _table(("type", "connection", "options", "calls", "when throttled", "at once"), rows())


PARTS: Mapping[str, Callable[[], str]] = {
    "settings": _settings,
    "metrics": _metrics,
    "cli": _cli,
    "cli-overview": _cli_overview,
    "dags": _dags,
    "params-ingest": lambda: _params("ingest"),
    "params-propagate": lambda: _params("propagate"),
    "params-poll": lambda: _params("poll"),
    "params-replay": lambda: _params("replay"),
    "params-redrive": lambda: _params("redrive"),
    "destinations": _destinations,
}


def main() -> int:
    with tempfile.TemporaryDirectory() as home:
        # what Airflow writes at its first import goes there, and no setting of this machine gets into a page
        os.environ["AIRFLOW_HOME"] = home
        for page in pages():
            text = page.read_text()
            fresh = generated(text)
            if fresh != text:
                page.write_text(fresh)
                print(f"written: {page.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
