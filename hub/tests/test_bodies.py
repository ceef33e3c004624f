"""What strangers can make the hub hold in memory."""

import asyncio

import pytest
from tornado import httpserver, netutil, web

from tljh import bodies


class Form(web.RequestHandler):
    async def post(self):
        await asyncio.sleep(float(self.request.headers.get("Takes", 0)))
        self.finish(f"{len(self.request.body)} bytes")


@pytest.fixture
def server():
    """Starts a server like the hub's, held to limits; returns its port and what is counted."""
    started = []

    def start(*limits):
        unfinished = bodies.limit(*limits)
        found = httpserver.HTTPServer(web.Application([("/", Form)]), xheaders=True)
        sockets = netutil.bind_sockets(0, "127.0.0.1")
        found.add_sockets(sockets)
        started.append(found)
        return sockets[0].getsockname()[1], unfinished

    yield start
    for each in started:
        each.stop()
    bodies.lift()


async def send(port, length, *parts):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nHost: hub\r\nContent-Length: %d\r\n\r\n" % length)
    for part in parts:
        writer.write(part)
    await writer.drain()
    return reader, writer


async def answer(reader):
    return (await asyncio.wait_for(reader.readline(), 10)).decode().strip()


def test_a_body_that_is_too_large_is_refused_before_it_is_read(server):
    async def test():
        port, unfinished = server()
        reader, _ = await send(port, bodies.LIMIT + 1)
        assert "400" in await answer(reader)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        assert "400" in await answer(reader)
        reader, _ = await send(port, bodies.LIMIT, b"x" * bodies.LIMIT)
        assert "200" in await answer(reader)
        assert unfinished.held == 0
        assert not unfinished.sizes

    asyncio.run(test())


def test_unfinished_bodies_share_a_fixed_amount_of_memory(server):
    async def test():
        port, unfinished = server(100_000, 1_000_000, 60)
        _, small = await send(port, 10, b"12345")
        flood = [await send(port, 100_000, b"x" * 90_000) for _ in range(50)]
        small_reader, small = await send(port, 10, b"12345")
        async with asyncio.timeout(10):
            while sum(reader.at_eof() for reader, _ in flood) < 39:
                await asyncio.sleep(0.05)
                await asyncio.gather(*(asyncio.wait_for(reader.read(1), 0.01) for reader, _ in flood), return_exceptions=True)
        assert unfinished.held <= 1_000_000
        small.write(b"67890")
        assert "200" in await answer(small_reader), "the biggest are given up"
        for _, writer in flood:
            writer.close()
        async with asyncio.timeout(10):
            while unfinished.held > 5:
                await asyncio.sleep(0.05)

    asyncio.run(test())


def test_a_body_that_does_not_come_is_given_up(server):
    async def test():
        port, unfinished = server(1000, 10_000, 0.2)
        reader, _ = await send(port, 10, b"1")
        assert await asyncio.wait_for(reader.read(), 10) == b""
        assert unfinished.held == 0

    asyncio.run(test())


def test_connections_without_a_request_are_counted(server):
    """One student's programs could use up the files that the hub may open."""

    async def test():
        port, _ = server(1000, 10_000, 60, 20)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: hub\r\nTakes: 1.5\r\nContent-Length: 2\r\n\r\n12")
        await writer.drain()
        await asyncio.sleep(0.3)
        used = [await send(port, 2, b"12") for _ in range(20)]  # answered, and kept
        for each, _ in used:
            assert "200" in await answer(each)
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        half = [await send(port, 10, b"1") for _ in range(20)]
        for each, _ in [*used, *idle]:
            await asyncio.wait_for(each.read(), 10)
        assert "200" in await answer(reader), "one that waits for its answer is not ended"
        again, _ = await send(port, 2, b"12")
        assert "200" in await answer(again)
        for _, writer in half:
            writer.close()

    asyncio.run(test())
