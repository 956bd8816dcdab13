"""The product's own HTTP client against a server that says exactly what a test tells it to."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from airflow_provider_atlan_meta.clients import http_post
from airflow_provider_atlan_meta.clients.http_post import PostEndpoint
from airflow_provider_atlan_meta.core.sending import SendOutcome

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CHUNKS = b"5\r\nhello\r\nA;x=1\r\n0123456789\r\n0\r\ntrailer: y\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS


class Server:
    """Answers the n-th request with ``answers[n]``, the last one for ever; None: never.

    :ivar requests: as they came, head and body. :ivar connections: how many were made.
    """

    def __init__(self, *answers: bytes | None, pieces: int = 0, closes: bool = False) -> None:
        self._answers, self._pieces, self._closes = answers, pieces, closes
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self._answers[min(len(self.requests), len(self._answers)) - 1]
                if answer is None:
                    await reader.read()
                    return
                for at in range(0, len(answer), self._pieces or len(answer) or 1):
                    writer.write(answer[at : at + (self._pieces or len(answer))])
                    await writer.drain()
                    await asyncio.sleep(0)
                if self._closes:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def calling(
    server: Server,
    work: Callable[[PostEndpoint], Awaitable[list[SendOutcome]]],
    *,
    tls: ssl.SSLContext | None = None,
    trusts: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    seconds: float = 5.0,
) -> list[SendOutcome]:
    async def inside() -> list[SendOutcome]:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
        async with listening:
            server.port = listening.sockets[0].getsockname()[1]
            endpoint = PostEndpoint(
                f"{'https' if tls else 'http'}://{host}:{server.port}/in/größe?key=a b",
                headers={"user-agent": "test"},
                connect_seconds=min(seconds, 3.0),
                total_seconds=seconds,
                tls=trusts,
            )
            async with endpoint:
                return await work(endpoint)

    return asyncio.run(inside())


def posted(server: Server, times: int = 1, *, seconds: float = 5.0) -> list[SendOutcome]:
    """One after the other."""

    async def work(endpoint: PostEndpoint) -> list[SendOutcome]:
        return [await endpoint.post(b"[%d]" % number, {"webhook-id": "1"}) for number in range(times)]

    return calling(server, work, seconds=seconds)


def test_a_request_is_what_the_protocol_says() -> None:
    server = Server(OK)

    posted(server)

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /in/gr%C3%B6%C3%9Fe?key=a%20b HTTP/1.1",
        b"host: 127.0.0.1:%d" % server.port,
        b"user-agent: test",
        b"webhook-id: 1",
        b"content-length: 3",
    ]
    assert body == b"[0]"


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        CHUNKED,
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 204\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK,
    ],
)
@pytest.mark.parametrize("pieces", [0, 1, 7])
def test_whatever_frames_an_answer_the_connection_is_used_again(answer: bytes, pieces: int) -> None:
    server = Server(answer, pieces=pieces)

    outcomes = posted(server, 3)

    assert [outcome.result for outcome in outcomes] == ["delivered"] * 3
    assert server.connections == 1
    assert [request.rpartition(b"\r\n")[2] for request in server.requests] == [b"[0]", b"[1]", b"[2]"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"HTTP/1.1 500 nobody asked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"no chunk at all" * 400,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n" + b"x" * 0x1FFFF,
    ],
)
def test_an_answer_without_a_sure_end_counts_and_ends_the_connection(answer: bytes) -> None:
    server = Server(answer)

    outcomes = posted(server, 2)

    assert [outcome.result for outcome in outcomes] == ["delivered"] * 2
    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 2",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 600 \r\n\r\n",
    ],
)
def test_what_is_no_answer_leaves_the_outcome_unknown(answer: bytes) -> None:
    (outcome,) = posted(Server(answer, closes=True))

    assert (outcome.result, outcome.status) == ("unknown", None)
    assert outcome.detail.startswith("no answer (")


def test_a_head_without_an_end_is_not_waited_for() -> None:
    (outcome,) = posted(Server(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000))

    assert outcome.result == "unknown"


def test_a_status_counts_even_if_the_rest_of_its_answer_never_comes() -> None:
    cut = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"

    assert posted(Server(cut, closes=True))[0].result == "delivered"
    assert posted(Server(cut), seconds=0.2)[0].result == "delivered"


def test_a_server_that_never_answers_is_given_up_on_and_left() -> None:
    server = Server(None, OK)

    first, second = posted(server, 2, seconds=0.2)

    assert (first.result, first.detail) == ("unknown", "no answer (TimeoutError)")
    assert second.result == "delivered"
    assert server.connections == 2


def test_a_connection_that_the_server_closed_is_not_used() -> None:
    server = Server(OK, closes=True)

    async def work(endpoint: PostEndpoint) -> list[SendOutcome]:
        outcomes = []
        for _ in range(3):
            outcomes.append(await endpoint.post(b"", {}))
            async with asyncio.timeout(5):
                while endpoint._open:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0)
        return outcomes

    assert {outcome.result for outcome in calling(server, work)} == {"delivered"}
    assert server.connections == 3


def test_a_connection_that_idled_for_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_post, "_KEEP_ALIVE_SECONDS", 0.0)
    server = Server(OK)

    assert len(posted(server, 3)) == 3
    assert server.connections == 3


def test_calls_at_once_have_a_connection_each_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_post, "_CONNECTIONS", 4)
    server = Server(OK)

    async def work(endpoint: PostEndpoint) -> list[SendOutcome]:
        return list(await asyncio.gather(*[endpoint.post(b"", {}) for _ in range(50)]))

    assert {outcome.result for outcome in calling(server, work)} == {"delivered"}
    assert server.connections == 4


def test_a_call_that_is_cancelled_leaves_no_connection_in_an_unknown_state() -> None:
    server = Server(None, OK)

    async def work(endpoint: PostEndpoint) -> list[SendOutcome]:
        call = asyncio.ensure_future(endpoint.post(b"first", {}))
        async with asyncio.timeout(5):
            while not server.requests:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        return [await endpoint.post(b"second", {})]

    assert calling(server, work)[0].result == "delivered"
    assert server.connections == 2


# ---- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For 127.0.0.1, signed by itself; key and certificate in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return file


def over_tls(
    certificate: Path, *, trusts: ssl.SSLContext | None, host: str = "127.0.0.1"
) -> tuple[str, str, int]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    server = Server(OK)

    async def work(endpoint: PostEndpoint) -> list[SendOutcome]:
        return [await endpoint.post(b"x" * 300_000, {}) for _ in range(2)]

    outcome = calling(server, work, tls=tls, trusts=trusts, host=host)[-1]
    return outcome.result, outcome.detail, server.connections


def test_a_certificate_that_is_trusted_is_talked_to_over_one_connection(certificate: Path) -> None:
    assert over_tls(certificate, trusts=ssl.create_default_context(cafile=certificate)) == (
        "delivered",
        "",
        1,
    )


@pytest.mark.parametrize(("trusted", "host"), [(False, "127.0.0.1"), (True, "localhost")])
def test_a_certificate_of_nobody_or_of_somebody_else_is_told_nothing(
    certificate: Path, trusted: bool, host: str
) -> None:
    trusts = ssl.create_default_context(cafile=certificate) if trusted else None

    assert over_tls(certificate, trusts=trusts, host=host)[:2] == (
        "retry",
        "not reached (SSLCertVerificationError)",
    )
