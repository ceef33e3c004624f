"""What this package takes from JupyterHub 6, for a hub of JupyterHub 5: servers on unix sockets."""

from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import aiohttp
import jupyterhub
from jupyterhub.objects import Server
from tornado import web

SCHEME = "http+unix"

_wait_up = Server.wait_up


async def wait_up(self, *arguments, **options):
    """The spawner waits for its server itself."""
    if self.proto != SCHEME:
        return await _wait_up(self, *arguments, **options)
    return SimpleNamespace(headers={"X-JupyterHub-Version": jupyterhub.__version__})


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


class SpawnException(web.HTTPError):
    """Why a server did not start, for the page that says so."""

    def __init__(self, message, *, reason, message_html=None, log_message=None, status_code=400):
        super().__init__(status_code, log_message or message)
