"""Slack's side of posting, updating, deleting and reading messages: answers, errors and limits of the real Web API.

Pure protocol, no server: ``testing.recorder`` puts it behind HTTP. Everything but rate limits and broken
requests is HTTP 200 with ``ok`` true or false, as with Slack itself.
"""

from __future__ import annotations

import json
import math
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

TEXT_CUT = 40_000  # postMessage truncates
UPDATE_TEXT_MAX = 4_000  # update refuses
BLOCKS_MAX = 50
# Undocumented at Slack; 11.3 thousand characters were refused, so a sender that stays below 11,000 is safe.
BLOCK_TEXT_MAX = 11_000
_TEXT_MAX = {"header": 150, "section": 3_000, "context": 3_000}
_ITEMS_MAX = {"actions": ("elements", 25), "context": ("elements", 10), "section": ("fields", 10)}
_FIELD_TEXT_MAX = 2_000
_TOKENS = ("xoxb-", "xoxp-", "xoxe.", "xapp-")
_FORM = "application/x-www-form-urlencoded"
_JSON_IN_FORM = ("blocks", "attachments", "metadata")
_MESSAGES_KEPT = 10_000

# method -> (calls, seconds, counted per channel); history as for apps of one's own workspace (tier 3)
RATE_LIMITS: Mapping[str, tuple[int, float, bool]] = {
    "chat.postMessage": (1, 1.0, True),
    "chat.update": (50, 60.0, False),
    "chat.delete": (50, 60.0, False),
    "conversations.history": (50, 60.0, False),
    "conversations.replies": (50, 60.0, False),
}
HISTORY_MAX, HISTORY_DEFAULT = 999, 100

Answer = dict[str, Any]


class RateLimited(Exception):
    """HTTP 429. :param retry_after: whole seconds, as Slack says them."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("ratelimited")
        self.retry_after = retry_after


class SlackError(Exception):
    """An ``ok: false`` answer.

    :param problems: Block Kit messages with their JSON pointers, as Slack lists them.
    """

    def __init__(self, code: str, problems: list[str] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.problems = problems or []

    def answer(self) -> Answer:
        body: Answer = {"ok": False, "error": self.code}
        if self.problems:
            body["errors"] = self.problems
            body["response_metadata"] = {"messages": [f"[ERROR] {problem}" for problem in self.problems]}
        return body


class SlackApi:
    """One workspace: remembers the last 10,000 messages, so that ``chat.update`` finds what was posted.

    :param clock: seconds since 1970; a message's ``ts`` is made from it, unique and increasing in any case.
    :ivar limits_enforced: whether ``RATE_LIMITS`` count.
    """

    limits_enforced = False

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last_ts = 0
        self._messages: OrderedDict[tuple[str, str], Answer] = OrderedDict()
        self._calls: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)

    def call(
        self, method: str, *, authorization: str, content_type: str, body: bytes, lag_seconds: float = 0.0
    ) -> Answer:
        """The JSON body of Slack's answer to one Web API call.

        :param body: the query of a GET.
        :param lag_seconds: history does not know of messages younger than that yet.
        :raises RateLimited: too many calls, where limits are enforced.
        """
        try:
            reading = method in ("conversations.history", "conversations.replies")
            form = reading and not content_type
            arguments, warning = parse_arguments(_FORM if form else content_type, body)
            self._authenticate(authorization, arguments)
            self._take(method, str(arguments.get("channel") or ""))
            if method == "chat.postMessage":
                answer = self._post(arguments)
            elif method == "chat.update":
                answer = self._update(arguments)
            elif method == "chat.delete":
                answer = self._delete(arguments)
            elif reading:
                answer = self._history(method, arguments, lag_seconds)
            else:
                return {"ok": False, "error": "unknown_method", "req_method": method}
        except SlackError as error:
            return error.answer()
        if warning:
            answer |= {"warning": warning, "response_metadata": {"warnings": [warning]}}
        return answer

    def _take(self, method: str, channel: str) -> None:
        if not self.limits_enforced or method not in RATE_LIMITS:
            return
        most, seconds, per_channel = RATE_LIMITS[method]
        calls, now = self._calls[method, channel if per_channel else ""], self._clock()
        while calls and calls[0] <= now - seconds:
            calls.popleft()
        if len(calls) >= most:
            raise RateLimited(max(1, math.ceil(calls[0] + seconds - now)))
        calls.append(now)

    def _history(self, method: str, arguments: Mapping[str, Any], lag_seconds: float) -> Answer:
        """One page: the channel newest first (threads hidden), or a thread oldest first."""
        channel = _required(arguments, "channel")
        if not _is_channel_id(channel):
            raise SlackError("channel_not_found")
        limit = _whole(arguments, "limit", HISTORY_DEFAULT)
        if not 1 <= limit <= HISTORY_MAX:
            raise SlackError("invalid_limit")
        thread = _required(arguments, "ts") if method == "conversations.replies" else ""
        found = [message for message in self._visible(channel, lag_seconds) if _belongs(message, thread)]
        if thread and not found:
            raise SlackError("thread_not_found")
        found = [message for message in found if _within(message["ts"], arguments)]
        found.sort(key=lambda message: _ts(message["ts"]), reverse=not thread)
        start = _cursor(arguments)
        page = found[start : start + limit]
        if not _is_true(arguments.get("include_all_metadata")):
            page = [{name: one[name] for name in one if name != "metadata"} for one in page]
        more = start + limit < len(found)
        return {
            "ok": True,
            "messages": [dict(message) for message in page],
            "has_more": more,
            "response_metadata": {"next_cursor": f"next:{start + limit}" if more else ""},
        }

    def _visible(self, channel: str, lag_seconds: float) -> Iterator[Answer]:
        newest = self._clock() - lag_seconds
        for (where, ts), message in self._messages.items():
            if where == channel and (lag_seconds <= 0 or float(ts) <= newest):
                yield message

    @staticmethod
    def _authenticate(authorization: str, arguments: Mapping[str, Any]) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            token = str(arguments.get("token") or "")
        if not token:
            raise SlackError("not_authed")
        if not token.startswith(_TOKENS):
            raise SlackError("invalid_auth")

    def _post(self, arguments: Mapping[str, Any]) -> Answer:
        channel = _channel_id(_required(arguments, "channel"))
        content = _content(arguments)
        ts = self._next_ts()
        message: Answer = {"type": "message", "subtype": "bot_message", "ts": ts, "bot_id": "B0123456789"}
        message |= content
        message["text"] = content["text"][:TEXT_CUT]
        if arguments.get("thread_ts"):
            message["thread_ts"] = str(arguments["thread_ts"])
        self._messages[channel, ts] = message
        while len(self._messages) > _MESSAGES_KEPT:
            self._messages.popitem(last=False)
        return {"ok": True, "channel": channel, "ts": ts, "message": dict(message)}

    def _update(self, arguments: Mapping[str, Any]) -> Answer:
        channel, ts = self._address(arguments)
        message = self._messages[channel, ts]
        content = _content(arguments)
        if len(content["text"]) > UPDATE_TEXT_MAX:
            raise SlackError("msg_too_long")
        message.update(content)
        if message.get("metadata") == {}:
            del message["metadata"]
        message["edited"] = {"user": "U0123456789", "ts": self._next_ts()}
        return {"ok": True, "channel": channel, "ts": ts, "text": message["text"], "message": dict(message)}

    def _delete(self, arguments: Mapping[str, Any]) -> Answer:
        channel, ts = self._address(arguments)
        del self._messages[channel, ts]
        return {"ok": True, "channel": channel, "ts": ts}

    def _address(self, arguments: Mapping[str, Any]) -> tuple[str, str]:
        """Of a message that is there."""
        channel, ts = _required(arguments, "channel"), _required(arguments, "ts")
        if not _is_channel_id(channel):  # names work in postMessage only
            raise SlackError("channel_not_found")
        if (channel, ts) not in self._messages:
            raise SlackError("message_not_found")
        return channel, ts

    def _next_ts(self) -> str:
        self._last_ts = max(self._last_ts + 1, int(self._clock() * 1_000_000))
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"


def parse_arguments(content_type: str, body: bytes) -> tuple[dict[str, Any], str | None]:
    """The call's arguments from a JSON or form body, and Slack's warning about the charset, if any.

    :raises SlackError: the body is not what its content type says.
    """
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind == "application/json":
        return _json_arguments(body), None if "charset" in parameters.lower() else "missing_charset"
    if kind == "application/x-www-form-urlencoded":
        return _form_arguments(body), None
    raise SlackError("invalid_post_type" if kind else "missing_post_type")


def _json_arguments(body: bytes) -> dict[str, Any]:
    try:
        arguments = json.loads(body)
    except (ValueError, RecursionError):
        raise SlackError("invalid_json") from None
    if not isinstance(arguments, dict):
        raise SlackError("json_not_object")
    arguments.pop("token", None)  # Slack reads the token of a JSON call from the header only
    return arguments


def _form_arguments(body: bytes) -> dict[str, Any]:
    try:
        arguments: dict[str, Any] = dict(parse_qsl(body.decode(), keep_blank_values=True))
    except ValueError:
        raise SlackError("invalid_form_data") from None
    for name in _JSON_IN_FORM:
        if name in arguments:
            try:
                arguments[name] = json.loads(arguments[name])
            except ValueError:
                raise SlackError(f"invalid_{name}_format") from None
    return arguments


def _required(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise SlackError("invalid_arguments", [f"missing required field: {name}"])
    return value


def _whole(arguments: Mapping[str, Any], name: str, default: int) -> int:
    try:
        return int(arguments.get(name) or default)
    except (ValueError, TypeError):
        raise SlackError("invalid_arguments", [f"must be a number: {name}"]) from None


def _is_true(value: Any) -> bool:
    return value in (True, 1, "1", "true", "True")


def _ts(text: Any) -> tuple[int, int]:
    seconds, _, micros = str(text).partition(".")
    try:
        return int(seconds), int(f"{micros:0<6}"[:6])
    except ValueError:
        raise SlackError("invalid_ts_latest") from None


def _within(ts: str, arguments: Mapping[str, Any]) -> bool:
    """Between ``oldest`` and ``latest``, which count only with ``inclusive``."""
    at, inclusive = _ts(ts), _is_true(arguments.get("inclusive"))
    oldest, latest = arguments.get("oldest"), arguments.get("latest")
    if oldest and (at < _ts(oldest) or (at == _ts(oldest) and not inclusive)):
        return False
    return not latest or at < _ts(latest) or (at == _ts(latest) and inclusive)


def _belongs(message: Mapping[str, Any], thread: str) -> bool:
    root: str = message.get("thread_ts", message["ts"])
    return root == thread if thread else root == message["ts"]


def _cursor(arguments: Mapping[str, Any]) -> int:
    cursor = str(arguments.get("cursor") or "next:0")
    if not cursor.startswith("next:") or not cursor[5:].isdigit():
        raise SlackError("invalid_cursor")
    return int(cursor[5:])


def _is_channel_id(channel: str) -> bool:
    return channel[:1] in ("C", "G", "D") and channel.isalnum() and channel.isupper() and len(channel) >= 9


def _channel_id(channel: str) -> str:
    """``#alerts`` and ``alerts`` have an id of their own, the same in every answer."""
    if _is_channel_id(channel):
        return channel
    return "C" + sha256(channel.lstrip("#").encode()).hexdigest()[:10].upper()


def _content(arguments: Mapping[str, Any]) -> Answer:
    """Text, blocks and metadata of a message, checked as Slack checks them."""
    text = arguments.get("text") or ""
    blocks = arguments.get("blocks")
    if not text and not blocks and not arguments.get("attachments"):
        raise SlackError("no_text")
    content: Answer = {"text": str(text)}
    if blocks is not None:
        _check_blocks(blocks)
        content["blocks"] = blocks
    metadata = arguments.get("metadata")
    if metadata is not None:
        if metadata != {} and (
            not isinstance(metadata, dict) or not {"event_type", "event_payload"} <= metadata.keys()
        ):
            raise SlackError("invalid_metadata_format")
        content["metadata"] = metadata
    return content


def _check_blocks(blocks: Any) -> None:
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise SlackError("invalid_blocks_format")
    problems = []
    if len(blocks) > BLOCKS_MAX:
        problems.append(f"no more than {BLOCKS_MAX} items allowed [json-pointer:/blocks]")
    for index, block in enumerate(blocks):
        problems += _block_problems(f"/blocks/{index}", block)
    if problems:
        raise SlackError("invalid_blocks", problems)
    if sum(len(text) for block in blocks for text in _texts(block)) > BLOCK_TEXT_MAX:
        raise SlackError("msg_blocks_too_long")


def _block_problems(pointer: str, block: Mapping[str, Any]) -> Iterator[str]:
    kind = block.get("type")
    if kind not in ("header", "section", "context", "actions", "divider", "image"):
        yield f"unsupported type: {kind} [json-pointer:{pointer}/type]"
        return
    if kind in ("header", "section") and not block.get("text") and not block.get("fields"):
        yield f"missing required field: text [json-pointer:{pointer}]"
    if kind == "header" and (block.get("text") or {}).get("type", "plain_text") != "plain_text":
        yield f"must be one of: plain_text [json-pointer:{pointer}/text/type]"
    if kind in _TEXT_MAX and "text" in block:
        yield from _text_problems(f"{pointer}/text", block["text"], _TEXT_MAX[kind])
    name, most = _ITEMS_MAX.get(kind, ("", 0))
    items = block.get(name) or []
    if len(items) > most:
        yield f"no more than {most} items allowed [json-pointer:{pointer}/{name}]"
    if kind in ("section", "context"):
        longest = _FIELD_TEXT_MAX if kind == "section" else _TEXT_MAX[kind]
        for index, item in enumerate(items):
            if item.get("type") != "image":
                yield from _text_problems(f"{pointer}/{name}/{index}", item, longest)


def _text_problems(pointer: str, element: Any, longest: int) -> Iterator[str]:
    if not isinstance(element, dict) or not isinstance(element.get("text"), str):
        yield f"missing required field: text [json-pointer:{pointer}]"
    elif element.get("type") not in ("mrkdwn", "plain_text"):
        yield f"must be one of: mrkdwn, plain_text [json-pointer:{pointer}/type]"
    elif not element["text"]:
        yield f"must be more than 0 characters [json-pointer:{pointer}/text]"
    elif len(element["text"]) > longest:
        yield f"must be less than {longest + 1} characters [json-pointer:{pointer}/text]"


def _texts(value: Any) -> Iterator[str]:
    """Every text inside a block, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "text" and isinstance(inner, str):
                yield inner
            else:
                yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
