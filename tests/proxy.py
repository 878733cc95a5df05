"""A TCP proxy that misbehaves on demand, as a process of its own: commands come as lines on its standard input.

``pass`` forward everything; ``hang`` forward nothing, keep connections; ``cut`` close all connections now;
``cutack`` forward the next COMMIT, then close without its answer; ``slow N`` hold answers back for N ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

COMMIT = b"COMMIT"


class Proxy:
    """The forwarding itself."""

    def __init__(self, target: int) -> None:
        self.target, self.mode, self.delay = target, "pass", 0.0
        self.writers: set[asyncio.StreamWriter] = set()
        self.going = asyncio.Event()
        self.going.set()
        self.cut_acks = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        self.writers |= {writer, there[1]}
        await asyncio.gather(self.pump(reader, there[1], asked=True), self.pump(there[0], writer, asked=False))
        self.writers -= {writer, there[1]}

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asked: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self.going.wait()
                if not asked and self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()
                if asked and self.mode == "cutack" and COMMIT in data:
                    self.mode = "pass"
                    self.cut_acks += 1
                    # the server commits in peace; nobody hears of it
                    await asyncio.sleep(0.02)
                    self.cut()
        with contextlib.suppress(OSError):
            writer.close()

    def cut(self) -> None:
        for writer in list(self.writers):
            with contextlib.suppress(OSError):
                writer.transport.abort()
        self.writers.clear()

    def obey(self, line: str) -> None:
        word, _, rest = line.strip().partition(" ")
        if word == "cut":
            self.cut()
        elif word == "hang":
            self.going.clear()
        else:
            self.mode, self.delay = word, float(rest) / 1000 if word == "slow" else 0.0
            self.going.set()


async def main(target: int) -> None:
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        proxy.obey(line.decode())
    print(proxy.cut_acks, flush=True)


class ProxyProcess:
    """The proxy, started and told what to do."""

    def __init__(self, target: int) -> None:
        command = [sys.executable, str(Path(__file__)), str(target)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
