"""What Airflow is told about this distribution. Read at every start of every Airflow process: data only."""

from __future__ import annotations

from typing import Any

from airflow_provider_atlan_meta.config.settings import settings_of_airflow

_PACKAGE = "airflow_provider_atlan_meta"
_INTEGRATION = "Atlan Meta"
_OPERATORS = (
    "operators.atlas",
    "operators.ingest",
    "operators.montecarlo",
    "operators.poll",
    "operators.propagate",
    "operators.redrive",
    "operators.replay",
)


def get_provider_info() -> dict[str, Any]:
    """Entry point ``apache_airflow_provider``.

    ``package-name`` must be the distribution's PEP 503 name: with any other, every Airflow command fails.
    """
    return {
        "package-name": "airflow-provider-atlan-meta",
        "name": _INTEGRATION,
        "description": "Real-time metadata pipeline: Monte Carlo webhooks through Kafka into PostgreSQL.",
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://docs.getmontecarlo.com/docs/webhooks",
                "tags": ["service"],
            }
        ],
        "connection-types": [_montecarlo(), _connect(), _atlas(), _oauth2()],
        "hooks": [
            _modules(
                "hooks.atlas",
                "hooks.cassandra",
                "hooks.connect",
                "hooks.kafka",
                "hooks.montecarlo",
                "hooks.oauth2",
            )
        ],
        "operators": [_modules(*_OPERATORS)],
        "triggers": [_modules("triggers.atlas_entity", "triggers.kafka_offset_range")],
        "sensors": [_modules("sensors.atlas")],
        "bundles": [_modules("bundles")],
        "notifications": [f"{_PACKAGE}.notifications.atlan_meta.AtlanMetaNotifier"],
        "cli": [f"{_PACKAGE}.cli.airflow_commands.airflow_commands"],
        "config": settings_of_airflow(),
    }


def _modules(*names: str) -> dict[str, Any]:
    return {"integration-name": _INTEGRATION, "python-modules": [f"{_PACKAGE}.{name}" for name in names]}


def _montecarlo() -> dict[str, Any]:
    """A tenant's secrets and the API's credentials; the fields land in its extra."""
    return {
        "connection-type": "atlan_meta_montecarlo",
        "hook-name": "Monte Carlo (Atlan Meta)",
        "hook-class-name": f"{_PACKAGE}.hooks.montecarlo.MonteCarloHook",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port", "extra"],
            "relabeling": {"host": "API address", "login": "API key id", "password": "API key token"},
            "placeholders": {
                "host": "https://api.getmontecarlo.com",
                "webhook_secret": "the secret of the webhook in Monte Carlo",
            },
        },
        "conn-fields": _webhook_fields() | _api_fields(),
    }


def _webhook_fields() -> dict[str, Any]:
    return {
        "webhook_secret": {
            "label": "Webhook secret",
            "description": "Signs the webhooks of this tenant; the same value as in Monte Carlo.",
            "schema": {"type": ["string", "null"], "format": "password"},
        },
        "webhook_secret_previous": {
            "label": "Previous webhook secret",
            "description": "Accepted as well while the secret is being changed; empty it afterwards.",
            "schema": {"type": ["string", "null"], "format": "password"},
        },
        "disabled": {
            "label": "Disabled",
            "description": "Webhooks of this tenant are answered 403 while this is on.",
            "schema": {"type": "boolean", "default": False},
        },
    }


def _api_fields() -> dict[str, Any]:
    return {
        "client_id": {
            "label": "OAuth2 client id",
            "description": "Instead of an API key.",
            "schema": {"type": ["string", "null"]},
        },
        "client_secret": {
            "label": "OAuth2 client secret",
            "description": "Belongs to the client id.",
            "schema": {"type": ["string", "null"], "format": "password"},
        },
        "instance": {
            "label": "Instance",
            "description": "Of the account, for OAuth2: us1 or eu1.",
            "schema": {"type": ["string", "null"]},
        },
        "calls_per_day": {
            "label": "Calls a day",
            "description": "What one process may ask the API, per day of UTC; 0: no limit.",
            "schema": {"type": ["integer", "null"], "minimum": 0, "default": 10000},
        },
    }


def _connect() -> dict[str, Any]:
    """The worker's address and login; the rest lands in the extra."""
    return {
        "connection-type": "atlan_meta_connect",
        "hook-name": "Kafka Connect (Atlan Meta)",
        "hook-class-name": f"{_PACKAGE}.hooks.connect.ConnectHook",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "extra"],
            "relabeling": {"host": "REST address"},
            "placeholders": {
                "host": "http://connect",
                "port": "8083",
                "login": "only with basic authentication",
                "database_password": "${file:/etc/connect/meta.properties:password}",
            },
        },
        "conn-fields": {
            "database_password": {
                "label": "Reference to the database password",
                "description": "Where the Connect workers find the password of role meta_cdc: a reference to one of "
                "their configuration providers. Never the password itself: Connect shows it to everybody.",
                "schema": {"type": ["string", "null"], "pattern": r"^\$\{[^{}]+\}$"},
            },
            "ca_file": {
                "label": "CA file",
                "description": "Certificates the REST API's own is checked with; empty: those of the system.",
                "schema": {"type": ["string", "null"]},
            },
            "timeout": {
                "label": "Timeout in seconds",
                "description": "How long a call may take.",
                "schema": {"type": ["number", "null"], "exclusiveMinimum": 0, "default": 10},
            },
        },
    }


def _atlas() -> dict[str, Any]:
    """The catalog's address and login; the rest lands in the extra."""
    return {
        "connection-type": "atlan_meta_atlas",
        "hook-name": "Apache Atlas or Atlan (Atlan Meta)",
        "hook-class-name": f"{_PACKAGE}.hooks.atlas.AtlasHook",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "extra"],
            "relabeling": {"host": "Address"},
            "placeholders": {
                "host": "http://atlas",
                "port": "21000",
                "hosts": "http://atlas-1:21000,http://atlas-2:21000",
                "incident_connection": "default/monte-carlo/1700000100",
            },
        },
        "conn-fields": {
            "dialect": {
                "label": "Catalog",
                "description": "atlas: Apache Atlas; atlan: Atlan.",
                "schema": {"type": "string", "enum": ["atlas", "atlan"], "default": "atlas"},
            },
            "hosts": _text(
                "Servers", "Of a cluster, comma-separated: the login goes to these and no others."
            ),
            **_atlas_login(),
            "ca_file": _text(
                "CA file", "Certificates the catalog's own is checked with; empty: those of the system."
            ),
            "timeout": {
                "label": "Timeout in seconds",
                "description": "How long an answer may take.",
                "schema": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 60, "default": 10},
            },
            **_atlas_names(),
            **_atlan_webhook(),
        },
    }


def _oauth2() -> dict[str, Any]:
    """Whose access tokens the producer takes."""
    return {
        "connection-type": "atlan_meta_oauth2",
        "hook-name": "OAuth2 tokens (Atlan Meta)",
        "hook-class-name": f"{_PACKAGE}.hooks.oauth2.OAuth2Hook",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "login", "password", "port", "extra"],
            "relabeling": {"host": "Issuer"},
            "placeholders": {
                "host": "https://sso.example.com/realms/data",
                "jwks_uri": "https://sso.example.com/realms/data/protocol/openid-connect/certs",
            },
        },
        "conn-fields": {
            "audience": _text("Audience", "What tokens for us carry in their claim aud."),
            "jwks_uri": _text("Address of the keys", "The issuer's JWKS, over HTTPS."),
            "tenant_claim": _text("Claim with the tenant", "Empty: tenant."),
            "algorithms": _text("Algorithms", "Comma-separated; empty: RS256, PS256, ES256, EdDSA."),
            "ca_file": _text(
                "CA file", "Certificates the issuer's own is checked with; empty: those of the system."
            ),
        },
    }


def _atlas_names() -> dict[str, Any]:
    """What entities are called there."""
    return {
        "name_suffix": _text(
            "Suffix of qualified names", "May hold {tenant}; not set: @{tenant} in Atlas, none in Atlan."
        ),
        "incident_connection": _text(
            "Atlan's Monte Carlo connection",
            "Its qualified name; empty: incidents are not written to Atlan.",
        ),
    }


def _atlan_webhook() -> dict[str, Any]:
    """Only of Atlan, and read only in a tenant's own connection."""
    return {
        "webhook_secret": _text("Webhook secret", "Atlan's webhooks of this tenant send it.", secret=True),
        "webhook_secret_previous": _text(
            "Previous webhook secret", "Accepted as well while the secret is being changed.", secret=True
        ),
        "disabled": {
            "label": "Webhooks disabled",
            "description": "Webhooks of this tenant are answered 403 while this is on.",
            "schema": {"type": "boolean", "default": False},
        },
    }


def _atlas_login() -> dict[str, Any]:
    """Beside login and password."""
    return {
        "token": _text("API token", "Sent as bearer token instead of login and password.", secret=True),
        "client_id": _text("OAuth2 client id", "Instead of login and password."),
        "client_secret": _text("OAuth2 client secret", "Belongs to the client id.", secret=True),
        "token_url": _text("OAuth2 token address", "Empty: Atlan's own."),
        "scope": _text("OAuth2 scope", "Where the token address wants one."),
    }


def _text(label: str, description: str, *, secret: bool = False) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": ["string", "null"]} | ({"format": "password"} if secret else {})
    return {"label": label, "description": description, "schema": kind}
