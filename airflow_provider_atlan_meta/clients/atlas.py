"""REST API of Apache Atlas and of catalogs that speak it.

No call is repeated here, but for what cannot have happened: a server that was not reached, a token that has ended, a
passive server that names the active one. The login goes to the connection's own hosts only.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx

from airflow_provider_atlan_meta.clients.atlas_config import AtlasConfig
from airflow_provider_atlan_meta.core.atlas_errors import Fault, Verdict, classify
from airflow_provider_atlan_meta.core.atlas_types import Definition, missing, names
from airflow_provider_atlan_meta.core.errors import (
    AtlanMetaError,
    ConfigurationError,
    RejectedError,
    TerminalError,
    TransientError,
)

# Never one a browser has: those are asked for a token against forged requests.
_USER_AGENT = "atlan-meta/1"
# below the servers' own, so that no call meets a connection they are closing
_IDLE_SECONDS = 10.0
_TYPE_TRIES = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
# What is made of a refusal where no row is at hand to be told of it.
_ERRORS: Mapping[Fault, type[AtlanMetaError]] = {
    Fault.POISON: RejectedError,
    Fault.TOO_LARGE: RejectedError,
    Fault.NOT_FOUND: RejectedError,
    Fault.EXISTS: RejectedError,
    Fault.MISSING: TransientError,
    Fault.LOCKED: TransientError,
    Fault.INTERNAL: TransientError,
    Fault.AWAY: TransientError,
    Fault.REFUSED: ConfigurationError,
}


class UnreachableError(TransientError):
    """No server was reached: nothing happened."""


class UnansweredError(TransientError):
    """The call was sent and not answered: it may have happened, or happen yet."""


class Answer(NamedTuple):
    """:param verdict: None: done as asked. :param retry_after: seconds, where the server names them."""

    status: int
    document: Any
    verdict: Verdict | None
    retry_after: float | None


class AtlasClient:
    """One catalog; a cluster's servers are tried in turn. Not thread-safe.

    :param transport: stands in for the network in tests.
    :raises ConfigurationError: the certificates cannot be read.
    """

    def __init__(self, config: AtlasConfig, transport: httpx.BaseTransport | None = None) -> None:
        self.config = config
        self._login = config.authentication()
        self._at = 0
        self._http = httpx.Client(
            timeout=httpx.Timeout(config.read_seconds, connect=config.connect_seconds),
            limits=httpx.Limits(keepalive_expiry=_IDLE_SECONDS),
            follow_redirects=False,
            verify=_verification(config.ca_file),
            transport=transport,
            headers={"accept": "application/json", "user-agent": _USER_AGENT},
        )

    def __enter__(self) -> AtlasClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def describe(self) -> str:
        """One line for people: proves that the catalog answers and takes the login."""
        types = self.call("GET", "/types/typedefs/headers")
        known = {entry["name"] for entry in types}
        # business metadata is left out of the headers
        ours = [name for section, name in names(self.config.dialect.types) if section == "entityDefs"]
        lacks = [name for name in ours if name not in known]
        told = f"not there yet: {', '.join(lacks)}" if lacks else "ours among them"
        return f"{self.config.dialect.name} at {self._host}: {len(types)} types, {told}"

    def ensure_types(self) -> bool:
        """Creates our types and adds to them what they lack; the same again changes nothing.

        :return: whether something was written.
        :raises TerminalError: they are there in another form, or the login may not.
        :raises TransientError: types are being changed by somebody else; nothing of ours was written.
        """
        for _ in range(_TYPE_TRIES):
            changes = missing(self.config.dialect.types, self._types_there())
            if changes.is_empty:
                return False
            if any(changes.create.values()):
                answer = self.send("POST", "/types/typedefs", body=changes.create)
                if answer.verdict is not None and answer.verdict.fault is Fault.EXISTS:
                    continue
                _raise_refused("types", answer)
            if any(changes.update.values()):
                _raise_refused("types", self.send("PUT", "/types/typedefs", body=changes.update))
            return True
        raise TransientError("somebody else creates the catalog's types at the same time; try again")

    def entity(self, type_name: str, qualified_name: str) -> dict[str, Any] | None:
        """None: there is no such entity. A deleted one says so in its ``status``."""
        answer = self.send(
            "GET",
            f"/entity/uniqueAttribute/type/{segment(type_name)}",
            query=[("attr:qualifiedName", qualified_name), ("minExtInfo", "true")],
        )
        if answer.verdict is not None and answer.verdict.fault is Fault.NOT_FOUND:
            return None
        _raise_refused("entity", answer)
        found: dict[str, Any] = answer.document["entity"]
        return found

    def write_entities(self, documents: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """Creates or updates entities as the API takes them, all or none.

        :return: qualified name -> guid.
        :raises RejectedError: the catalog refuses one of them; nothing was written.
        :raises ConfigurationError: more than the catalog takes at once, or one without a qualified name.
        """
        most = self.config.dialect.largest_batch
        if not 0 < len(documents) <= most:
            raise ConfigurationError(f"{len(documents)} entities; write 1 to {most} at once")
        sent = [{"guid": f"-{at + 1}", **document} for at, document in enumerate(documents)]
        try:
            named = [str(document["attributes"]["qualifiedName"]) for document in sent]
        except (KeyError, TypeError):
            raise ConfigurationError("every entity needs attributes.qualifiedName") from None
        body = {"entities": sent, "referredEntities": {}}
        guids = self.call("POST", "/entity/bulk", body=body)["guidAssignments"]
        return {name: str(guids[one["guid"]]) for name, one in zip(named, sent, strict=True)}

    def call(self, method: str, path: str, *, body: Any = None) -> Any:
        """The answer's document.

        :raises AtlanMetaError: refused; which one says what happens next.
        """
        answer = self.send(method, path, body=body)
        _raise_refused(f"{method} {path}", answer)
        return answer.document

    def send(
        self, method: str, path: str, *, query: Sequence[tuple[str, str]] = (), body: Any = None
    ) -> Answer:
        """One call, answered: also by a refusal.

        :param path: behind the dialect's own.
        :raises UnreachableError, UnansweredError: not answered.
        :raises ConfigurationError: it leads to a host that is none of the connection's.
        """
        answer = self._sent(method, path, query, body)
        if answer.status_code == 401 and self._login.renew():
            # refused before anything was looked at
            answer = self._sent(method, path, query, body)
        return self._read(answer)

    @property
    def _host(self) -> str:
        return self.config.hosts[self._at]

    def _sent(self, method: str, path: str, query: Sequence[tuple[str, str]], body: Any) -> httpx.Response:
        """From whichever server is the active one."""
        for _ in range(len(self.config.hosts) + 1):
            answer = self._reached(method, path, query, body)
            if answer.status_code == 503:
                # of a cluster another one may be active by the next call
                self._at = (self._at + 1) % len(self.config.hosts)
            if answer.status_code not in _REDIRECTS or answer.status_code in self.config.dialect.passing:
                return answer
            self._turn_to(answer.headers.get("location", ""))
        raise TransientError("the catalog's servers name each other as the active one; try again")

    def _reached(self, method: str, path: str, query: Sequence[tuple[str, str]], body: Any) -> httpx.Response:
        """From the first server that is there."""
        failure: Exception | None = None
        for _ in self.config.hosts:
            header = self._login.header(self._http)
            try:
                return self._http.request(
                    method,
                    f"{self._host}{self.config.dialect.path}{path}",
                    params=list(query) or None,
                    json=body,
                    headers={"authorization": header} if header else {},
                )
            except _NOT_SENT as error:
                failure = error
                self._at = (self._at + 1) % len(self.config.hosts)
            except httpx.HTTPError as error:
                raise UnansweredError(
                    f"the catalog at {self._host} did not answer ({type(error).__name__}); "
                    "what was sent may be written or not, it is sent again"
                ) from error
        raise UnreachableError(
            f"no catalog at {', '.join(self.config.hosts)} ({type(failure).__name__}); it is tried again"
        ) from failure

    def _turn_to(self, location: str) -> None:
        """A passive server names the active one."""
        origins = [_origin(host) for host in self.config.hosts]
        here = origins[self._at]
        there = _origin(location) if "://" in location else here
        if there not in origins or (there == here and "login" in location):
            raise ConfigurationError(
                f"connection {self.config.conn_id!r}: the catalog sends calls on to {there}; "
                "if that is one of its servers, name it in `hosts`, else check the login"
            )
        self._at = origins.index(there)

    def _types_there(self) -> dict[tuple[str, str], Definition]:
        there: dict[tuple[str, str], Definition] = {}
        for section, name in names(self.config.dialect.types):
            answer = self.send("GET", f"/types/{section[:-1].lower()}/name/{segment(name)}")
            if answer.verdict is None:
                there[section, name] = answer.document
            elif answer.verdict.fault is not Fault.NOT_FOUND:
                _raise_refused("types", answer)
        return there

    def _read(self, answer: httpx.Response) -> Answer:
        try:
            document = answer.json() if answer.content else None
        except ValueError:
            document = None
            if answer.is_success:
                raise TerminalError(
                    f"{self._host} answers with something else than JSON; is it a catalog's address?"
                ) from None
        if answer.is_success:
            return Answer(answer.status_code, document, None, None)
        said = document if isinstance(document, dict) else {}
        text = f"{said.get('errorMessage') or ''} {said.get('errorCause') or ''}"
        code = str(said.get("errorCode") or "")
        verdict = classify(answer.status_code, code, text, passing=self.config.dialect.passing)
        return Answer(answer.status_code, document, verdict, _retry_after(answer))


def segment(text: str) -> str:
    """A name as one part of a path."""
    return quote(text, safe="")


def refusal(what: str, answer: Answer) -> AtlanMetaError:
    """The error of an answer with a verdict."""
    verdict = answer.verdict or Verdict(Fault.INTERNAL, "")
    kind = _ERRORS[verdict.fault]
    if issubclass(kind, TransientError):
        return kind(
            f"catalog, {what}: {verdict.reason}; nothing of it was written", retry_after=answer.retry_after
        )
    return kind(f"catalog, {what}: {verdict.reason}")


def _raise_refused(what: str, answer: Answer) -> None:
    if answer.verdict is not None:
        raise refusal(what, answer)


def _origin(address: str) -> str:
    parts = urlsplit(address)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _retry_after(answer: httpx.Response) -> float | None:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdigit() else None


def _verification(ca_file: str) -> ssl.SSLContext | bool:
    if not ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigurationError(f"ca_file {ca_file} cannot be read as certificates: {error}") from error
