"""What people read in a chat or a log: text only, escaped for its target and bounded.

Everything that comes from outside (ids, reasons) is data: it is escaped here, so it can neither mention a
channel (``<!channel>``) nor forge a link, and it never reaches a template engine.
"""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_atlan_meta.core.alerts import Failure, OpenAlert
from airflow_provider_atlan_meta.core.errors import AtlanMetaError

_ID_CHARACTERS = 200
_REASON_CHARACTERS = 400
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape_mrkdwn(text: str) -> str:
    """Slack's three control characters; what is left cannot be a mention or a link."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def failure_text(failure: Failure, *, failures: int = 1, since: str = "") -> str:
    """A failed run, or ``failures`` of them since ``since``."""
    times = "failed" if failures == 1 else f"failed {failures} times since {escape_mrkdwn(since)}"
    lines = [f":red_circle: *{_id(failure.dag_id)}*{_tenant(failure.tenant)} {times}"]
    lines.append(f"run `{_code(failure.run_id)}` at {escape_mrkdwn(failure.at)}")
    lines.append(f"> {_one_line(failure.reason)}")
    if failure.log_url:
        lines.append(f"<{_url(failure.log_url)}|log of the last try>")
    return "\n".join(lines)


def resolved_text(alert: OpenAlert, *, dag_id: str, tenant: str, run_id: str, at: str) -> str:
    """The same alert once a run succeeded again."""
    runs = "1 failed run" if alert.failures == 1 else f"{alert.failures} failed runs"
    return (
        f":large_green_circle: *{_id(dag_id)}*{_tenant(tenant)} works again\n"
        f"run `{_code(run_id)}` at {escape_mrkdwn(at)}; before it {runs} since {escape_mrkdwn(alert.since)}"
    )


def describe_error(exception: BaseException) -> str:
    """Bounded, and only the type of errors that are not ours: their text may hold a password or a payload."""
    if not isinstance(exception, AtlanMetaError):
        return f"{type(exception).__name__} (its text is in the log of the try)"
    return _bounded(f"{type(exception).__name__}: {exception}", _REASON_CHARACTERS)


def counted(numbers: Mapping[str, int]) -> str:
    """``41 delivered, 2 parked``; states nothing is in are left out."""
    return ", ".join(f"{number} {state}" for state, number in sorted(numbers.items()) if number) or "none"


def _id(text: str) -> str:
    return escape_mrkdwn(_bounded(text, _ID_CHARACTERS)).replace("*", "")


def _tenant(tenant: str) -> str:
    return f" (tenant {_id(tenant)})" if tenant else ""


def _code(text: str) -> str:
    return escape_mrkdwn(_bounded(text, _ID_CHARACTERS)).replace("`", "'").replace("\n", " ")


def _one_line(text: str) -> str:
    return escape_mrkdwn(_bounded(" ".join(text.split()), _REASON_CHARACTERS))


def _url(text: str) -> str:
    """Inside ``<url|label>`` the separators of that form must not occur."""
    return escape_mrkdwn(text).replace("|", "%7C").replace(" ", "%20")


def _bounded(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"
