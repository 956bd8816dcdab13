"""Slack as a destination that is claimed first: post, update in place, and find again what was posted.

Every message carries its delivery in Slack's message metadata, so a post whose answer was lost is found by it.
Nothing is ever repeated in here; the SDK's own retries are off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from airflow_provider_atlan_meta.clients.aiohttp_outcomes import outcome_of_failure
from airflow_provider_atlan_meta.clients.slack import PostedMessage, SlackConfig
from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError
from airflow_provider_atlan_meta.core.sending import Result, SendOutcome, outcome_of_status, seconds_of

_CONNECT_SECONDS = 3.0
EVENT_TYPE = "atlan_meta_delivery"
PAGE_MESSAGES, MAX_PAGES = 200, 20
_HISTORY = "conversations.history"

# Slack's own words. What is not here is unknown: Slack says of its internal errors that something may have happened.
_WORDS: Mapping[str, Result] = {
    **dict.fromkeys(("ratelimited", "rate_limited", "message_limit_exceeded"), "retry"),
    **dict.fromkeys(
        (
            "access_denied",
            "account_inactive",
            "channel_not_found",
            "ekm_access_denied",
            "invalid_auth",
            "is_archived",
            "missing_scope",
            "no_permission",
            "not_authed",
            "not_in_channel",
            "restricted_action",
            "team_access_not_granted",
            "token_expired",
            "token_revoked",
        ),
        "blocked",
    ),
    **dict.fromkeys(
        (
            "cant_delete_message",
            "cant_update_message",
            "compliance_exports_prevent_deletion",
            "edit_window_closed",
            "invalid_arguments",
            "invalid_blocks",
            "invalid_blocks_format",
            "invalid_metadata_format",
            "invalid_metadata_schema",
            "message_not_found",
            "metadata_must_be_sent_from_app",
            "metadata_too_large",
            "msg_blocks_too_long",
            "msg_too_long",
            "no_text",
            "thread_not_found",
            "too_many_attachments",
        ),
        "rejected",
    ),
}


# What people can do about the words they meet most.
_CURES: Mapping[str, str] = {
    "channel_not_found": "check the channel's id; the app must be in a private channel",
    "is_archived": "the channel is archived",
    "message_not_found": "somebody deleted the message; nothing more is shown of this row",
    "missing_scope": "the app needs the scopes chat:write, channels:history and groups:history",
    "not_in_channel": "invite the app to the channel",
    **dict.fromkeys(("invalid_auth", "token_expired", "token_revoked"), "the connection needs a new token"),
}


class SlackDeliveries:
    """An async context manager, used in the loop it sends from; ``post`` and ``update`` raise nothing Slack causes."""

    def __init__(self, config: SlackConfig) -> None:
        self._config = config
        self._session: aiohttp.ClientSession | None = None
        self._client: AsyncWebClient | None = None

    async def __aenter__(self) -> SlackDeliveries:
        config = self._config
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=config.timeout_seconds, sock_connect=_CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[_no_redirects()],
        )
        self._client = AsyncWebClient(
            token=config.token,
            base_url=config.base_url,
            timeout=config.timeout_seconds,
            proxy=config.proxy,
            session=self._session,
            retry_handlers=[],
        )
        self._client.proxy = config.proxy  # the connection's, never the environment's
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(
        self,
        channel: str,
        text: str,
        *,
        delivery_id: str,
        blocks: Sequence[Mapping[str, Any]] = (),
        thread_ts: str = "",
    ) -> SendOutcome:
        """A new message; ``external_id`` is ``channel/ts``, the channel as Slack's id."""
        body = {"channel": channel, "unfurl_links": False, "unfurl_media": False}
        if thread_ts:
            body["thread_ts"] = thread_ts
        metadata = {"event_type": EVENT_TYPE, "event_payload": {"delivery_id": delivery_id}}
        return await self._send("chat.postMessage", body | _content(text, blocks) | {"metadata": metadata})

    async def update(
        self, message: PostedMessage, text: str, *, blocks: Sequence[Mapping[str, Any]] = ()
    ) -> SendOutcome:
        """The same message says something else. It keeps its metadata: the delivery that posted it finds it still."""
        body = {"channel": message.channel, "ts": message.ts}
        return await self._send("chat.update", body | _content(text, blocks))

    async def delete(self, message: PostedMessage) -> SendOutcome:
        """What is not there any more counts as deleted."""
        _, outcome = await self._call("chat.delete", json={"channel": message.channel, "ts": message.ts})
        if outcome.detail.startswith("message_not_found"):
            return SendOutcome(result="delivered", status=outcome.status)
        return outcome

    async def find(
        self, channel: str, delivery_id: str, *, oldest: float, latest: float, thread_ts: str = ""
    ) -> tuple[PostedMessage, ...]:
        """The messages of this delivery posted in that time, oldest first; more than one were doubled.

        Slack's history may lag behind its posts. A thread that is not there has no answers.

        :param channel: its id; names are not understood here.
        :param thread_ts: look in this thread instead of the channel, which does not list answers.
        :raises TransientError: nothing is known: wait and look again.
        :raises TerminalError: the token, its scopes or the channel do not allow looking.
        """
        method = "conversations.replies" if thread_ts else _HISTORY
        asked = {
            "channel": channel,
            "include_all_metadata": "true",
            "inclusive": "true",
            "oldest": f"{oldest:.6f}",
            "latest": f"{latest:.6f}",
            "limit": str(PAGE_MESSAGES),
        }
        if thread_ts:
            asked["ts"] = thread_ts
        found: list[str] = []
        for _ in range(MAX_PAGES):
            page = await self._page(method, asked)
            found += [str(one.get("ts")) for one in page["messages"] if _delivery_of(one) == delivery_id]
            cursor = (page.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return tuple([PostedMessage(channel=channel, ts=ts) for ts in sorted(found)])
            asked["cursor"] = cursor
        raise TransientError(
            f"Slack {method}: more than {PAGE_MESSAGES * MAX_PAGES} messages in the time asked for; "
            "nothing was concluded from those that were read"
        )

    async def _page(self, method: str, asked: Mapping[str, str]) -> Mapping[str, Any]:
        answer, outcome = await self._call(method, http_verb="GET", params=dict(asked))
        if outcome.detail == "thread_not_found":
            return {"messages": []}
        if outcome.result in ("blocked", "rejected", "gone"):
            raise TerminalError(
                f"Slack {method}: {outcome.detail}; check the token, its scopes (channels:history, groups:history) "
                "and the channel id"
            )
        if outcome.result != "delivered" or not isinstance(answer.get("messages"), list):
            raise TransientError(
                f"Slack {method}: {outcome.detail or 'unexpected answer'}; nothing is known of the delivery",
                retry_after=outcome.retry_after,
            )
        return answer

    async def _send(self, method: str, body: Mapping[str, Any]) -> SendOutcome:
        answer, outcome = await self._call(method, json=dict(body))
        if outcome.result != "delivered":
            return outcome
        if not answer.get("channel") or not answer.get("ts"):
            return SendOutcome(result="unknown", status=outcome.status, detail="answered without an address")
        return SendOutcome(
            result="delivered", status=outcome.status, external_id=f"{answer['channel']}/{answer['ts']}"
        )

    async def _call(self, method: str, **arguments: Any) -> tuple[Mapping[str, Any], SendOutcome]:
        if self._client is None:
            raise RuntimeError("SlackDeliveries is used as an async context manager")
        try:
            answer = await self._client.api_call(method, **arguments)
        except SlackApiError as error:
            return {}, _refused(error)
        except _RedirectedError as error:
            return {}, outcome_of_status(error.status)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, SlackClientError) as error:
            return {}, outcome_of_failure(error)
        data = answer.data
        return (data if isinstance(data, dict) else {}), SendOutcome(
            result="delivered", status=answer.status_code
        )


class _RedirectedError(aiohttp.ClientError):
    def __init__(self, status: int) -> None:
        super().__init__(f"answered {status}")
        self.status = status


def _no_redirects() -> aiohttp.TraceConfig:
    """The SDK would follow one with a GET, and a call that never reached Slack would look refused by it."""

    async def refuse(
        _: aiohttp.ClientSession, __: object, redirect: aiohttp.TraceRequestRedirectParams
    ) -> None:
        raise _RedirectedError(redirect.response.status)

    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(refuse)
    return tracing


def address_of(external_id: str) -> PostedMessage:
    """``external_id`` of a post.

    :raises ValueError: it is none.
    """
    channel, slash, ts = external_id.partition("/")
    if not (channel and slash and ts):
        raise ValueError("no address of a Slack message")
    return PostedMessage(channel=channel, ts=ts)


def _content(text: str, blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    # said in every call: an update would else fall back to looking for names and addresses in the text
    content: dict[str, Any] = {"text": text, "parse": "none", "link_names": False}
    if blocks:
        content["blocks"] = [dict(block) for block in blocks]
    return content


def _delivery_of(message: Mapping[str, Any]) -> str | None:
    metadata = message.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("event_type") != EVENT_TYPE:
        return None
    payload = metadata.get("event_payload")
    return payload.get("delivery_id") if isinstance(payload, dict) else None


def _refused(error: SlackApiError) -> SendOutcome:
    """An answer that is not ``ok``: Slack's word counts, the status only where there is none."""
    answer = error.response
    data = getattr(answer, "data", None)
    word = str(data.get("error") or "") if isinstance(data, dict) else ""
    status = int(getattr(answer, "status_code", None) or getattr(answer, "status", 0) or 0)
    retry_after = (getattr(answer, "headers", None) or {}).get("Retry-After")
    if not word:
        outcome = outcome_of_status(status, retry_after)
        return (
            outcome
            if outcome.result != "delivered"
            else SendOutcome(result="unknown", detail="no usable answer")
        )
    result = _WORDS.get(word, "retry" if status == 429 else "unknown")
    return SendOutcome(
        result=result,
        status=status,
        detail=_detail(word),
        retry_after=seconds_of(retry_after) if result in ("retry", "unknown") else None,
    )


def _detail(word: str) -> str:
    name = word[:100] if word.replace("_", "").isalnum() else "an error without a name"
    return f"{name}: {_CURES[name]}" if name in _CURES else name
