"""Logs are JSON lines without secrets, whoever writes them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from typing import Any

from airflow_provider_atlan_meta.services.logs import SecretMask, get_logger

SECRET = "hunter2-hunter2"

Lines = Callable[..., tuple[SecretMask, io.StringIO]]


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_our_lines_and_those_of_libraries_are_json_with_the_same_fields(lines: Lines) -> None:
    _, stream = lines()
    get_logger("ours").info("webhooks", tenant="acme", stage="producer")
    logging.getLogger("theirs").warning("lost %s of %d", "one", 3)
    ours, theirs = written(stream)
    assert (ours["event"], ours["tenant"], ours["level"], ours["logger"]) == (
        "webhooks",
        "acme",
        "info",
        "ours",
    )
    assert (theirs["event"], theirs["level"]) == ("lost one of 3", "warning")
    assert ours["time"].endswith("Z")
    assert "time" in theirs


def test_lines_below_the_level_are_not_written(lines: Lines) -> None:
    _, stream = lines("WARNING")
    get_logger("ours").info("no")
    get_logger("ours").warning("yes")
    assert [line["event"] for line in written(stream)] == ["yes"]


def test_a_secret_is_masked_wherever_it_stands(lines: Lines) -> None:
    mask, stream = lines()
    mask.add([SECRET])
    log = get_logger("ours")
    log.info(
        f"a {SECRET} b", one=SECRET, two={"k": [SECRET, 5]}, three=ValueError(SECRET), four=SECRET.encode()
    )
    logging.getLogger("theirs").warning("arg %s", SECRET)
    try:
        int(SECRET)
    except ValueError:
        log.exception("failed")
        logging.getLogger("theirs").exception("failed")
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count("***") >= 8
    assert written(stream)[0]["two"] == {"k": ["***", 5]}


def test_of_secrets_that_contain_one_another_the_longer_goes_first(lines: Lines) -> None:
    mask, stream = lines()
    mask.add(["abcd"])
    mask.add(["abcdefgh"])
    get_logger("ours").info("x", v="abcdefgh")
    assert written(stream)[0]["v"] == "***"


def test_fragments_too_short_to_be_secrets_leave_lines_readable(lines: Lines) -> None:
    mask, stream = lines()
    mask.add(["", "a", "abc"])
    get_logger("ours").info("abc")
    assert written(stream)[0]["event"] == "abc"
