"""From a failed start to words that help: the server, the last lines of its log, the cure."""

from __future__ import annotations

import re

from airflow_provider_atlan_meta.sandbox.home import Home

_TAIL_BYTES = 8192
_LINES_SHOWN = 6
_CURES = (
    (r"[Aa]ddress (already )?in use|could not bind", "its port was taken: run the same command again"),
    (r"No space left on device", "the disk is full: free some space"),
    (r"OutOfMemoryError|Cannot allocate memory|could not reserve", "memory is short: start fewer members"),
    (r"Permission denied|AccessDenied", "a file is another user's: `down --purge` as that user"),
    (r"too many open files|Too many open files", "raise the limit of open files: ulimit -n 4096"),
    (
        r"NoClassDefFoundError|ClassNotFoundException",
        "a jar is damaged: remove the cache's folder jars and go again",
    ),
    (r"UnsupportedClassVersionError", "Java is too old: 17 or newer, from the [sandbox] extra or JAVA_HOME"),
    (r"ModuleNotFoundError|ImportError", "reinstall with the [sandbox] extra"),
)
_GENERAL_CURE = "read the log; `atlan-meta sandbox down --purge` and up again starts from nothing"


def describe_failure(name: str, what: str, home: Home) -> str:
    log = home.log(name)
    tail = _tail(home, name)
    cure = next((cure for pattern, cure in _CURES if re.search(pattern, f"{what}\n{tail}")), _GENERAL_CURE)
    shown = "".join(f"\n    {line[:300]}" for line in tail.splitlines()[-_LINES_SHOWN:])
    return (
        f"{name}: {what}\n  cure: {cure}\n  log: {log}{shown}\n  nothing this command started is left running"
    )


def _tail(home: Home, name: str) -> str:
    try:
        with home.log(name).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
