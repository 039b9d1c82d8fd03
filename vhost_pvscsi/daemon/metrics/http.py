"""HTTP of one connection: bytes in, one request out; an answer in, bytes out. No I/O.

A connection has one request, and is closed after the answer: who reads every few seconds loses
nothing by that, and nothing of one request can outlive it.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

import h11

#: The longest request line and headers together, in bytes. Prometheus' own have some 300.
MAX_REQUEST = 16 << 10


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked."""

    method: str
    path: str  #: without the query
    accept: str  #: media types, "" where there are none


@dataclass(frozen=True, slots=True)
class Answer:
    """What is told."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


def refusal(status: HTTPStatus, **headers: str) -> Answer:
    """Say no, in the words that the standard has for it."""
    named = tuple((name.capitalize(), value) for name, value in headers.items())
    return Answer(status, f"{status.value} {status.phrase}\n".encode(), headers=named)


class Exchange:
    """One request and its answer."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST)
        self._bodiless = False  #: the answer is to have none

    def receive(self, data: bytes) -> Request | Answer | None:
        """Take bytes that have come; not again after they were more than a part of a request.

        Gives what was asked, an answer for what is no request, or None: more is needed.
        """
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            return refusal(HTTPStatus(error.error_status_hint))
        if isinstance(event, h11.Request):
            self._bodiless = event.method == b"HEAD"
            headers = dict(event.headers)
            return Request(
                event.method.decode("ascii"),
                event.target.decode("latin-1").partition("?")[0],
                headers.get(b"accept", b"").decode("latin-1"),
            )
        return None

    def send(self, answer: Answer) -> tuple[bytes, bytes]:
        """Make head and body of an answer; HEAD gets no body."""
        headers = [
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
            ("Connection", "close"),
            *answer.headers,
        ]
        head = self._http.send(
            h11.Response(status_code=answer.status, headers=headers, reason=answer.status.phrase)
        )
        return head or b"", b"" if self._bodiless else answer.body
