"""HTTP of the metrics socket: bytes alone."""

from __future__ import annotations

from http import HTTPStatus

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vhost_pvscsi.daemon.metrics.http import MAX_REQUEST, Answer, Exchange, Request, refusal


def ask(data: bytes, piece: int | None = None) -> Request | Answer | None:
    exchange = Exchange()
    for start in range(0, len(data), piece or len(data) or 1):
        found = exchange.receive(data[start : start + (piece or len(data))])
        if found is not None:
            return found
    return None


GET = b"GET /metrics?a=b HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n"


@pytest.mark.parametrize("piece", [None, 1, 7])
def test_a_request_is_read_in_whatever_pieces(piece: int | None) -> None:
    assert ask(GET, piece) == Request("GET", "/metrics", "text/plain")


def test_nothing_is_asked_before_the_empty_line() -> None:
    assert ask(GET[:-2]) is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),  # without Host
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /" + b"a" * MAX_REQUEST + b" HTTP/1.1\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * MAX_REQUEST, 431),
    ],
)
def test_what_is_no_request_is_refused(data: bytes, status: int) -> None:
    found = ask(data)
    assert isinstance(found, Answer)
    assert found.status == status


@given(st.binary(max_size=400))
def test_any_bytes_are_a_request_or_none(data: bytes) -> None:
    exchange = Exchange()
    found = exchange.receive(data)
    if found is not None:
        head, _ = exchange.send(
            found if isinstance(found, Answer) else refusal(HTTPStatus.NOT_FOUND)
        )
        assert head.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_is_http_to_another_reader(method: str) -> None:
    exchange = Exchange()
    assert isinstance(exchange.receive(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode()), Request)
    head, body = exchange.send(refusal(HTTPStatus.METHOD_NOT_ALLOWED, allow="GET, HEAD"))
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(head + body)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    assert response.status_code == 405
    assert dict(response.headers)[b"allow"] == b"GET, HEAD"
    assert dict(response.headers)[b"connection"] == b"close"
    if method == "GET":
        data = client.next_event()
        assert isinstance(data, h11.Data)
        assert data.data == b"405 Method Not Allowed\n"
    assert isinstance(client.next_event(), h11.EndOfMessage)
