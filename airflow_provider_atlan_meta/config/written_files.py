"""What the files that people write have in common: how they are read, and what errors repeat of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from airflow_provider_atlan_meta.config.yaml_document import MAX_BYTES
from airflow_provider_atlan_meta.core.conditions import shown
from airflow_provider_atlan_meta.core.errors import ConfigurationError

# What secrets look like wherever they stand: tokens by their known beginnings, keys, addresses with a password.
SECRET = re.compile(
    r"xox[a-z]-|xapp-|whsec_|whsk_|hooks\.slack\.com/(?:services|workflows)/|gh[pousr]_|glpat-|AKIA[0-9A-Z]{16}"
    r"|-----BEGIN|\bBearer\s+\S{8}|://[^/\s:@]*:[^/\s@]+@",
    re.IGNORECASE,
)


def read_written(path: Path, *, begins: str) -> bytes:
    """At most one byte more than a file may have.

    :param begins: the file's first key.
    :raises ConfigurationError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror}); name a YAML file that begins with {begins}:"
        ) from None


def choice(word: Any, known: Sequence[str]) -> str:
    """What there is, and what may have been meant."""
    near = get_close_matches(word, known, n=1) if isinstance(word, str) else []
    return f"{f'did you mean {near[0]!r}? ' if near else ''}there are: {', '.join(known)}"


def told(value: Any) -> str:
    """As errors repeat it: what looks like a secret is left out."""
    return "***" if holds_secret(value) else shown(value)


def holds_secret(value: Any) -> bool:
    return any(SECRET.search(text) for text in _texts(value))


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in (*value, *value.values()) if isinstance(value, dict) else value:
            yield from _texts(inner)
