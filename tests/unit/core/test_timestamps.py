"""RFC 3339, neither more nor less."""

from __future__ import annotations

import pytest

from airflow_provider_atlan_meta.core.timestamps import is_rfc3339


@pytest.mark.parametrize(
    "text",
    [
        "2018-04-05T17:31:00Z",
        "2018-04-05t17:31:00z",
        "2018-04-05T03:56:24.123456789+05:30",
        "1990-12-31T23:59:60Z",
        "1990-12-31T15:59:60-08:00",
        "2024-02-29T00:00:00-00:00",
        "0000-02-29T00:00:00Z",
    ],
)
def test_a_moment_is_one(text: str) -> None:
    assert is_rfc3339(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1522949460",
        "2018-04-05",
        "2018-04-05T17:31:00",
        "2018-04-05 17:31:00Z",
        "2018-04-05T17:31Z",
        "2018-04-05T17:31:00+0530",
        "2018-04-05T24:00:00Z",
        "2018-04-05T17:60:00Z",
        "2018-04-05T17:31:61Z",
        "2018-04-05T17:31:00.Z",
        "2018-04-05T17:31:00+24:00",
        "2023-02-29T00:00:00Z",
        "2018-13-01T00:00:00Z",
        "2018-04-05T17:31:00Z\n",
        "٢٠١٨-04-05T17:31:00Z",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert not is_rfc3339(text)
