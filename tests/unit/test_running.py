"""What a command makes of a bot that answers, that is not there, that takes too long, and that answers anything else."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from commands import running
from daemon.control_socket import PATH_MAX, connect, listen
from domain.errors import ConfigError, Unavailable
from settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(data_dir=tmp_path)


@contextmanager
def answering(path: Path, content: str, status: str = "200 OK") -> Iterator[list[bytes]]:
    """Answer one request at a bot's socket; yield what came."""
    came: list[bytes] = []

    def serve() -> None:
        peer, _ = bound.accept()
        with peer:
            asked = peer.recv(65_536)
            # headers and body come apart, and what is left unread when a socket is closed resets it
            length = re.search(rb"content-length: (\d+)", asked.lower())
            while length and len(asked.partition(b"\r\n\r\n")[2]) < int(length[1]):
                asked += peer.recv(65_536)
            came.append(asked)
            peer.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n{content}".encode())

    with listen(path) as bound:
        server = threading.Thread(target=serve)
        server.start()
        yield came
        server.join(10)


@contextmanager
def held(settings: Settings) -> Iterator[str]:
    """Hold a folder as a running bot does, and note its page."""
    with (settings.data_dir / "bot.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(os.getpid()))
        lock.flush()
        note = {"host": "0.0.0.0", "port": 8123, "token": "x", "process": os.getpid()}
        settings.note.write_text(json.dumps(note))
        yield str(os.getpid())


def test_a_bot_that_is_not_there_is_none(settings):
    assert running.ask(settings) is None
    # what a bot leaves behind that was killed
    listen(settings.control).close()
    assert settings.control.exists()
    assert running.ask(settings) is None
    assert running.order(settings, "/panic") is None


def test_what_a_dead_bot_left_behind_is_taken_over_and_belongs_to_its_owner_alone(settings):
    listen(settings.control).close()
    with answering(settings.control, '{"switch": "stopped"}'):
        assert settings.control.stat().st_mode & 0o777 == 0o600
        assert running.order(settings, "/switch") == {"switch": "stopped"}


def test_a_bot_that_is_busy_is_not_taken_for_absent(settings, monkeypatch):
    # it accepts and never answers: the command must not go on as if no bot ran
    with listen(settings.control):
        with pytest.raises(ConfigError, match=r"panic: process unknown holds .* it may still do it"):
            running.order(settings, "/panic", 0.05)
        monkeypatch.setattr(running, "ASK_S", 0.05)
        with pytest.raises(Unavailable, match=r"does not answer within 0\.05 s; ask again"):
            running.ask(settings)


def test_a_bot_whose_queue_is_full_is_busy_not_absent(settings):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(settings.control))
        bound.listen(0)
        with connect(settings.control, 1), pytest.raises(ConfigError, match="panic: process unknown holds"):
            running.order(settings, "/panic", 0.05)


def test_folders_of_any_depth_can_be_steered(tmp_path):
    """A socket's name has 107 bytes at most on Linux; folders of containers and tests are often deeper."""
    settings = Settings(data_dir=tmp_path / ("deep" * 30) / ("deeper" * 20))
    settings.data_dir.mkdir(parents=True)
    assert len(str(settings.control)) > 2 * PATH_MAX
    descriptors = len(os.listdir("/proc/self/fd"))
    with answering(settings.control, '{"switch": "paused"}'):
        assert settings.control.stat().st_mode & 0o777 == 0o600
        assert running.order(settings, "/switch") == {"switch": "paused"}
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_each_folder_has_its_own_bot(tmp_path):
    one, other = Settings(data_dir=tmp_path / "one"), Settings(data_dir=tmp_path / "other")
    for settings in (one, other):
        settings.data_dir.mkdir()
    with answering(one.control, '{"switch": "paused"}'), answering(other.control, '{"switch": "stopped"}'):
        assert running.order(other, "/switch") == {"switch": "stopped"}
        assert running.order(one, "/switch") == {"switch": "paused"}


def test_neither_a_proxy_nor_a_secret_has_to_do_with_it(settings, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        with held(settings), answering(settings.control, '{"switch": "paused"}') as came:
            assert running.order(settings, "/switch") == {"switch": "paused"}
        assert b"authorization" not in came[0].lower()
        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        ("200 OK", '{"ready": true}', "lacks open, pending"),
        ("200 OK", '["open"]', "not understood (HTTP 200)"),
        ("200 OK", "<html>", "not understood (HTTP 200)"),
        ("503 Service Unavailable", "Service Unavailable", "not understood (HTTP 503)"),
        ("503 Service Unavailable", "{}", "HTTP 503"),
        ("409 Conflict", '{"detail": "not as things stand"}', "not as things stand"),
    ],
)
def test_an_answer_of_any_other_shape_is_an_error_in_words(settings, status, content, said):
    with answering(settings.control, content, status):
        assert said in running.ask(settings)["error"]


def test_a_bot_that_ends_in_the_middle_of_an_answer_is_not_there(settings):
    with listen(settings.control) as bound:
        server = threading.Thread(target=lambda: bound.accept()[0].close())
        server.start()
        assert running.order(settings, "/panic", 10) is None
        server.join(10)


def test_a_bot_without_a_socket_is_named_with_the_way_out(settings):
    with held(settings) as process, pytest.raises(ConfigError) as raised:
        running.order(settings, "/panic")
    said = str(raised.value)
    assert f"process {process} runs the bot of {settings.data_dir} without bot.sock: it is of an older version" in said
    assert f"act on its page at http://127.0.0.1:8123, or end it (kill {process})" in said


def test_a_bot_that_only_starts_is_not_of_an_older_version(settings):
    with held(settings):
        settings.note.unlink()
        assert running.ask(settings) is None


def test_another_user_is_told_that_the_bot_is_not_theirs(settings, monkeypatch):
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(running, "connect", refused)
    with pytest.raises(ConfigError, match="only the user who runs the bot may steer it"):
        running.order(settings, "/panic")


def test_a_folder_that_takes_no_socket_is_told_before_anything_is_traded(tmp_path):
    (tmp_path / "bot.sock").mkdir()
    with pytest.raises(ConfigError, match=r"bot\.sock: cannot listen .* put data_dir onto a filesystem"):
        listen(tmp_path / "bot.sock")
