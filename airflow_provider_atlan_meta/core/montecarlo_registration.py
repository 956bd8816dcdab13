"""Monte Carlo told where to send a tenant's webhooks: the questions, and what the answers say."""

from __future__ import annotations

from typing import Any

import msgspec

from airflow_provider_atlan_meta.core.errors import TerminalError, TransientError

SETTINGS_QUERY = """\
query AtlanMetaWebhooks($audience: UUID!) {
  getNotificationAudiences(audienceId: $audience) {
    uuid
    label
    notificationSettings { uuid type recipients }
  }
}
"""
REGISTER_MUTATION = """\
mutation AtlanMetaRegisterWebhook(
  $uuid: UUID, $audience: UUID, $recipients: [String]!, $extra: NotificationExtra, $dry: Boolean
) {
  createOrUpdateAudienceNotificationSetting(
    uuid: $uuid, audienceId: $audience, notificationType: "webhook", recipients: $recipients, extra: $extra, dry: $dry
  ) {
    notificationSetting { uuid }
  }
}
"""


class _Setting(msgspec.Struct):
    uuid: str
    type: str = ""
    recipients: list[str] | None = None


class _Audience(msgspec.Struct, rename="camel"):
    notification_settings: list[_Setting | None]


class _Registered(msgspec.Struct, rename="camel"):
    notification_setting: _Setting | None = None


class _Data(msgspec.Struct, rename="camel"):
    get_notification_audiences: list[_Audience] | None = None
    create_or_update_audience_notification_setting: _Registered | None = None


class _Error(msgspec.Struct):
    message: str = ""


class _Answer(msgspec.Struct):
    data: _Data | None = None
    errors: list[_Error] | None = None


def registration(
    *, audience_id: str, url: str, secret: str, setting_id: str | None, dry_run: bool
) -> dict[str, Any]:
    """Variables of REGISTER_MUTATION.

    :param dry_run: Monte Carlo sends a sample alert to the url and keeps nothing.
    """
    return {
        "uuid": setting_id,
        "audience": audience_id,
        "recipients": [url],
        "extra": {"webhookSharedSecret": secret, "receiveNormalized": True},
        "dry": dry_run,
    }


def find_setting(body: bytes, url: str) -> str | None:
    """Id of the webhook to ``url`` among an audience's settings; None: there is none yet.

    :raises TerminalError: there is no such audience.
    """
    audiences = _data(body).get_notification_audiences
    if not audiences:
        raise TerminalError("Monte Carlo knows no such audience; copy its id from Settings > Notifications")
    for setting in (setting for audience in audiences for setting in audience.notification_settings):
        if setting is not None and setting.type.lower() == "webhook" and url in (setting.recipients or ()):
            return setting.uuid
    return None


def registered_id(body: bytes) -> str | None:
    """Id of what was made or changed; None after a dry run."""
    done = _data(body).create_or_update_audience_notification_setting
    return (
        done.notification_setting.uuid if done is not None and done.notification_setting is not None else None
    )


def _data(body: bytes) -> _Data:
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TransientError("Monte Carlo answered in another form; try again") from None
    if answer.errors:
        told = "; ".join(error.message for error in answer.errors)
        raise TerminalError(
            f"Monte Carlo refuses: {told}; check the role of its API key and the audience's id"
        )
    return answer.data or _Data()
