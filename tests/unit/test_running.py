"""What a command makes of a bot that answers, that is not there, and that takes too long."""

from __future__ import annotations

import json
import socket

import pytest

from commands import running
from domain.errors import ConfigError, Unavailable
from settings import Settings


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(data_dir=tmp_path)


def note(settings, port: int) -> None:
    settings.note.write_text(json.dumps({"host": "127.0.0.1", "port": port, "token": "x"}))


def test_a_bot_that_is_not_there_is_none(settings):
    assert running.ask(settings) is None
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    note(settings, port)
    assert running.ask(settings) is None
    assert running.order(settings, "/panic") is None


def test_a_bot_that_is_busy_is_not_taken_for_absent(settings, monkeypatch):
    # it accepts and never answers: the command must not go on as if no bot ran
    with socket.create_server(("127.0.0.1", 0)) as busy:
        note(settings, busy.getsockname()[1])
        with pytest.raises(ConfigError, match=r"panic: process unknown holds .* it may still do it"):
            running.order(settings, "/panic", 0.05)
        monkeypatch.setattr(running, "ASK_S", 0.05)
        with pytest.raises(Unavailable, match=r"does not answer within 0\.05 s; ask again"):
            running.ask(settings)
