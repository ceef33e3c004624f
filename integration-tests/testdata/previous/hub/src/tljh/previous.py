"""What this package takes from JupyterHub 6, for a hub of JupyterHub 5: servers on unix sockets."""

from urllib.parse import unquote, urlsplit

import aiohttp
from jupyterhub.objects import Server

SCHEME = "http+unix"

_wait_up = Server.wait_up


async def wait_up(self, *arguments, **options):
    """The spawner waits for its server itself."""
    if self.proto != SCHEME:
        await _wait_up(self, *arguments, **options)


Server.wait_up = wait_up


async def fetch(url, *, raise_for_status=True, **options):
    parts, connector = urlsplit(url), None
    if parts.scheme == SCHEME:
        connector, url = aiohttp.UnixConnector(unquote(parts.netloc)), f"http://localhost{parts.path}"
    async with aiohttp.ClientSession(connector=connector) as session:
        reply = await session.get(url, **options)
        await reply.read()
        if raise_for_status:
            reply.raise_for_status()
        return reply
