#!/opt/tljh/hub/bin/python3
"""A stand-in for Traefik, which cannot be fetched where tests run: port 80, and a file of routes. One request a connection, or a web socket."""

import asyncio
import json
import re
from urllib.parse import urlsplit

RULES = "rules/rules.json"
FAILURES = (OSError, ValueError, asyncio.IncompleteReadError)


def target(path):
    with open(RULES, encoding="utf-8") as file:
        routes = json.load(file)
    best = max((spec for spec in routes if (path + "/").startswith(spec)), key=len)
    address = urlsplit(routes[best]["target"])
    return address.hostname, address.port


async def pour(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def serve(reader, writer):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        host, port = target(head.split(b" ")[1].decode().partition("?")[0])
        if b"\r\nupgrade:" not in head.lower():
            head = re.sub(rb"(?im)^connection:[^\r]*\r\n", b"", head).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        behind, to = await asyncio.open_connection(host, port)
        to.write(head)
        await asyncio.gather(pour(reader, to), pour(behind, writer))
    except FAILURES:
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        writer.close()


async def main():
    async with await asyncio.start_server(serve, port=80, limit=1 << 20) as server:
        await server.serve_forever()


asyncio.run(main())
