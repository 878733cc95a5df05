"""Who cannot be reached is named, with the reason, however deep a library has put it."""

from __future__ import annotations

import errno
import socket

import aiohttp
import pytest

from domain.reach import unreachable


class Library(Exception):
    """What a library raises instead."""


def wrapped(cause: BaseException, text: str = "venue GET https://key:secret@api.venue.com/v5/time?x=1") -> Library:
    error = Library(text)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(("cause", "why"), [
    (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 9)"), "connection refused"),
    (socket.gaierror(-2, "Name or service not known"), "Name or service not known"), (TimeoutError(), "no answer in time"),
    (OSError(errno.ENETUNREACH, "x"), "no network"), (ConnectionResetError(), "no connection"),
])  # fmt: skip
def test_host_and_reason_are_told_without_a_secret(cause, why):
    assert unreachable(wrapped(cause)) == f"cannot reach api.venue.com: {why}"
    assert unreachable(wrapped(wrapped(cause, "inner"))) == f"cannot reach api.venue.com: {why}"
    assert unreachable(cause, "http://127.0.0.1:9/x") == f"cannot reach 127.0.0.1:9: {why}"


@pytest.mark.parametrize(
    "error", [Library("https://api.venue.com HTTP 500"), ValueError("no number"), OSError("no host"), None]
)
def test_what_is_no_lack_of_a_connection_is_not_called_one(error):
    assert unreachable(error) == ""


async def test_a_real_connector_says_who_refused():
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError) as raised:
            await session.get("http://127.0.0.1:1/x")
    assert unreachable(raised.value, "http://127.0.0.1:1") == "cannot reach 127.0.0.1:1: connection refused"
