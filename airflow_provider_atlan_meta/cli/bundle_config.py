"""``atlan-meta bundle-config``: the one line that makes the shipped DAGs appear in Airflow."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_provider_atlan_meta.cli.output import add_json_flag, emit
from airflow_provider_atlan_meta.core.errors import ConfigurationError

BUNDLE: Mapping[str, Any] = {
    "name": "atlan-meta",
    "classpath": "airflow_provider_atlan_meta.bundles.PackagedDagBundle",
    "kwargs": {},
}
# Airflow's own default entry: a list that is set replaces it, and the user's DAGs folder would be gone
DAGS_FOLDER: Mapping[str, Any] = {
    "name": "dags-folder",
    "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
    "kwargs": {},
}


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "bundle-config",
        help="the [dag_processor] dag_bundle_config_list that shows the shipped DAGs",
        description="Prints the setting with what is configured already, the DAGs folder and our bundle.",
        epilog='example: eval "$(atlan-meta bundle-config)"; airflow dags list',
    )
    parser.add_argument(
        "--format", choices=sorted(_FORMATS), default="env", help="shell, airflow.cfg or chart values"
    )
    add_json_flag(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    bundles = merged(_configured())
    emit(bundles, as_json=args.json, text=_FORMATS[args.format](bundles))
    return 0


def merged(configured: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What is there, in its order, then what is missing.

    :raises ConfigurationError: our bundle's name stands for something else.
    """
    bundles = list(configured)
    if not any(bundle.get("name") == DAGS_FOLDER["name"] for bundle in bundles):
        bundles.append(DAGS_FOLDER)
    if any(bundle.get("classpath") == BUNDLE["classpath"] for bundle in bundles):
        return bundles
    if any(bundle.get("name") == BUNDLE["name"] for bundle in bundles):
        raise ConfigurationError(
            f"[dag_processor] dag_bundle_config_list has a bundle {BUNDLE['name']!r} of another class; "
            "rename that one first"
        )
    return [*bundles, BUNDLE]


def _configured() -> list[dict[str, Any]]:
    """As Airflow resolves it: environment, airflow.cfg, default."""
    from airflow.configuration import conf
    from airflow.exceptions import AirflowConfigException

    try:
        bundles = conf.getjson("dag_processor", "dag_bundle_config_list", fallback=[])
    except AirflowConfigException as error:
        raise ConfigurationError(f"[dag_processor] dag_bundle_config_list is not JSON: {error}") from None
    if not isinstance(bundles, list) or not all(isinstance(bundle, dict) for bundle in bundles):
        raise ConfigurationError("[dag_processor] dag_bundle_config_list must be a JSON list of objects")
    return bundles


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _as_env(bundles: Sequence[Mapping[str, Any]]) -> str:
    return f"export AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST={shlex.quote(_compact(bundles))}"


def _as_ini(bundles: Sequence[Mapping[str, Any]]) -> str:
    return "[dag_processor]\ndag_bundle_config_list = " + _compact(bundles).replace("%", "%%")


def _as_helm(bundles: Sequence[Mapping[str, Any]]) -> str:
    """Values of Airflow's official chart; a JSON object is a YAML flow mapping."""
    lines = ["dagProcessor:", "  dagBundleConfigList:"]
    return "\n".join([*lines, *(f"    - {json.dumps(bundle)}" for bundle in bundles)])


_FORMATS: Mapping[str, Callable[[Sequence[Mapping[str, Any]]], str]] = {
    "env": _as_env,
    "ini": _as_ini,
    "helm": _as_helm,
}
