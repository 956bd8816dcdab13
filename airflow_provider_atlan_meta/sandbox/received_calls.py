"""What receivers really got: the recorder's calls that took effect, as webhooks and as messages in a chat."""

from __future__ import annotations

import base64
import hmac
import html
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

import httpx

# Older than this when it came: a receiver would refuse it as played back.
_TIMESTAMP_SLACK_SECONDS = 300
_SLACK_EVENT = "atlan_meta_delivery"
_WEBHOOK_PATH, _SLACK_PATH = "/webhook/", "/slack/api/"
_LOOK_SECONDS = 0.2
# Longer than any call is kept waiting for its effect.
_OPEN_SECONDS = 120.0

Call = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class WebhookCall:
    """One applied call.

    :param id: its ``webhook-id``. :param at: seconds since 1970, when it was received.
    :param event: the CloudEvent; empty where the body is none.
    :param problems: of signature, time and form.
    """

    id: str
    at: float
    event: Mapping[str, Any]
    problems: tuple[str, ...] = ()


def webhook_calls(recorded: Iterable[Call], secret: str) -> list[WebhookCall]:
    """In the order they took effect."""
    applied = [call for call in recorded if call["applied_at"] and call["path"].startswith(_WEBHOOK_PATH)]
    return [_webhook_call(call, secret) for call in sorted(applied, key=lambda call: call["applied_at"])]


def _webhook_call(call: Call, secret: str) -> WebhookCall:
    headers, body = call["headers"], call["body"]
    problems = []
    name, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = hmac.new(key, f"{name}.{timestamp}.{body}".encode(), sha256).digest()
    if f"v1,{base64.b64encode(signature).decode()}" not in headers.get("webhook-signature", "").split(" "):
        problems.append("its signature is not of this secret")
    if not timestamp.isdecimal() or abs(int(timestamp) - call["at"]) > _TIMESTAMP_SLACK_SECONDS:
        problems.append(f"its timestamp {timestamp!r} is not the time of the call")
    if not headers.get("content-type", "").startswith("application/cloudevents+json"):
        problems.append("its content type is not that of a CloudEvent")
    try:
        event = json.loads(body)
    except ValueError:
        event = {}
        problems.append("its body is not JSON")
    return WebhookCall(id=name, at=call["at"], event=event, problems=tuple(problems))


@dataclass(frozen=True)
class Shown:
    """What a message said from ``at`` on. :param text: every text in it, as a reader sees it."""

    at: float
    text: str


@dataclass
class SlackMessage:
    """One message and all it said, in order.

    :param delivery_id: what posted it. :param thread_ts: of an answer: the message it answers.
    """

    channel: str
    ts: str
    thread_ts: str
    delivery_id: str
    shown: list[Shown] = field(default_factory=list)
    is_removed: bool = False


def slack_messages(recorded: Iterable[Call]) -> list[SlackMessage]:
    """Those that a delivery posted, as they stand after all calls; oldest first."""
    messages: dict[tuple[str, str], SlackMessage] = {}
    applied = [call for call in recorded if call["applied_at"] and call["path"].startswith(_SLACK_PATH)]
    for call in sorted(applied, key=lambda call: call["applied_at"]):
        method, body = call["path"].removeprefix(_SLACK_PATH), call["body"]
        if method == "chat.postMessage" and (delivery := _delivery_of(body)) is not None:
            place = call["message"]["channel"], call["message"]["ts"]
            messages[place] = SlackMessage(*place, body.get("thread_ts", ""), delivery)
        elif method in ("chat.update", "chat.delete"):
            place = body["channel"], body["ts"]
        else:
            continue
        message = messages.get(place)
        if message is None:  # posted by somebody else, or before anybody listened
            continue
        if method == "chat.delete":
            message.is_removed = True
        else:
            message.shown.append(Shown(call["applied_at"], _text_of(body)))
    return list(messages.values())


def _delivery_of(body: Mapping[str, Any]) -> str | None:
    metadata = body.get("metadata") or {}
    if metadata.get("event_type") != _SLACK_EVENT:
        return None
    return str(metadata.get("event_payload", {}).get("delivery_id"))


def _text_of(body: Mapping[str, Any]) -> str:
    return html.unescape(" ".join([str(body.get("text") or ""), *_texts(body.get("blocks") or [])]))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name == "text" and isinstance(one, str):
                yield one
            elif name != "url":
                yield from _texts(one)


class CallLog:
    """Keeps every call from :meth:`listen` on; the recorder itself forgets all but the last ones.

    :param on_call: told of every call that took effect.
    """

    def __init__(
        self,
        url: str,
        *,
        on_call: Callable[[Call], None] = lambda _: None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._on_call = on_call
        self._http = httpx.Client(base_url=url, timeout=30.0, trust_env=False, transport=transport)
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._calls: dict[int, Call] = {}
        self._keeps = True
        self._open: dict[int, float] = {}
        self._after = 0

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def listen(self) -> None:
        """Begins here."""
        self._after = max((call["number"] for call in self._asked(0)), default=0)
        self._thread = threading.Thread(target=self._run, name="call-log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._http.close()

    def forget(self) -> None:
        """Keeps nothing any more but what has no end yet; ``on_call`` is told on."""
        self._keeps = False

    def read(self) -> Sequence[Call]:
        """All until now, in the order they came."""
        with self._guard:
            after = min([*(number - 1 for number in self._open), self._after])
            for call in self._asked(after):
                number = call["number"]
                if call["applied_at"] and not self._calls.get(number, {}).get("applied_at"):
                    self._on_call(call)
                self._calls[number] = call
                self._after = max(self._after, number)
                is_open = call["applied_at"] is None and call["status"] is None
                self._open.pop(number, None)
                if is_open:
                    self._open[number] = call["at"]
            newest = max((call["at"] for call in self._calls.values()), default=0.0) if self._open else 0.0
            self._open = {n: at for n, at in self._open.items() if at > newest - _OPEN_SECONDS}
            if not self._keeps:
                self._calls = {n: call for n, call in self._calls.items() if n in self._open}
            return [self._calls[number] for number in sorted(self._calls)]

    def _asked(self, after: int) -> list[Call]:
        calls: list[Call] = self._http.get("/_recorded", params={"after": after}).raise_for_status().json()
        return calls

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            with suppress(httpx.HTTPError):  # it is asked again
                self.read()
