"""How verbs speak: results on stdout (``--json``: exactly one document), everything else on stderr."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document on stdout, logs on stderr"
    )


def emit(document: Any, *, as_json: bool, text: str) -> None:
    """The verb's result: the JSON document, or the text meant for people."""
    print(json.dumps(document, default=str) if as_json else text)


def fail(error: BaseException, code: int, *, as_json: bool) -> int:
    """Says what happened and returns the exit code."""
    if as_json:
        document: Mapping[str, object] = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(document))
    print(f"atlan-meta: {error}", file=sys.stderr)
    return code
