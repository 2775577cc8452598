"""A proxy that reads the HTTP requests between a client and a server as they pass."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from attrs import define, field


@define
class Tap:
    """Reads the requests of one connection as they pass, and notes each by what it asks."""

    seen: list[str]
    _unread: bytes = field(default=b"", init=False)

    def read(self, data: bytes) -> None:
        """Take in the next bytes."""
        self._unread += data
        while b"\r\n\r\n" in self._unread:
            head, _, rest = self._unread.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in lines)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            assert "transfer-encoding" not in headers, "a client sent its request in chunks"
            length = int(headers.get("content-length", "0"))
            if len(rest) < length:
                return
            body, self._unread = rest[:length], rest[length:]
            self.seen.append(json.loads(body)["method"] if body else first.split(" ")[0])


@asynccontextmanager
async def counting(url: str) -> AsyncGenerator[tuple[str, list[str]]]:
    """Stand before a server. Gives the address to use instead, and what was requested there."""
    target = urlsplit(url)
    seen: list[str] = []

    async def relay(client: SocketStream) -> None:
        tap = Tap(seen)
        async with (
            client,
            await anyio.connect_tcp(str(target.hostname), target.port or 80) as server,
            anyio.create_task_group() as both,
        ):

            async def pass_on(source: ByteStream, sink: ByteStream, read: Callable[[bytes], None]) -> None:
                with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                    while True:
                        data = await source.receive()
                        read(data)
                        await sink.send(data)
                both.cancel_scope.cancel()

            both.start_soon(pass_on, client, server, tap.read)
            both.start_soon(pass_on, server, client, lambda _: None)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610  # it is not Django's
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, relay)
            yield target._replace(netloc=f"127.0.0.1:{port}").geturl(), seen
            group.cancel_scope.cancel()
