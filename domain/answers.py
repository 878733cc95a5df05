"""How much of an answer is taken in: whoever sends more, or something packed that unpacks to more, is not believed."""

from __future__ import annotations

from typing import Any

from domain.errors import Unavailable

MEGABYTE = 1 << 20


def limited(response: Any, bytes_max: int) -> Any:
    """Return a kind of answer (aiohttp's) that is read, unpacked, to so many bytes at most.

    Reading more raises Unavailable, and ends the connection that it comes on.
    """

    class Limited(response):  # type: ignore[misc]  # the class is given
        async def read(self) -> bytes:
            """Return the body."""
            if self._body is None:
                self._body: bytes | None = await self._at_most()
            return self._body or b""

        async def _at_most(self) -> bytes:
            body = bytearray()
            try:
                while (chunk := await self.content.readany()) and len(body) <= bytes_max:
                    body += chunk
            finally:
                if not self.content.at_eof():
                    # what is left of it would be taken for the next answer
                    self.close()
            if len(body) > bytes_max:
                raise Unavailable(f"{self.url.host}: an answer of more than {bytes_max} bytes")
            return bytes(body)

    return Limited
