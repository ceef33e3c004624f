"""The hub's side of the proxy, which is a unit of its own and loses its routes whenever it restarts.

JupyterHub alone would give them back after up to five minutes, and would not start at all while the proxy is away.
"""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
from jupyterhub.app import JupyterHub
from jupyterhub.httpclient import fetch
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.utils import url_path_join
from traitlets import Any, Float

from tljh.notify import notify

# Seconds that the hub's route waits for those of servers. Without it nobody gets anywhere.
_OTHERS_PATIENCE = 5


class WatchedProxy(ConfigurableHTTPProxy):
    watch_interval = Float(1.0, config=True, help="Seconds between two looks at the proxy's routes.")
    when_serving: Callable[[JupyterHub], Awaitable[None]] | None = Any(None, config=True, help="Called once, with the application, when the hub serves.")

    _watcher = None
    _away = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._adding: set[asyncio.Future] = set()

    async def get_all_routes(self):
        """The proxy's routes. A hub that is starting does without the proxy: the watcher gives it its routes when it comes."""
        self._start_watching()
        if self.app._start_future.done():
            return await super().get_all_routes()
        if await self._look() is None:
            return {}
        return await super().get_all_routes()

    async def check_routes(self, user_dict, service_dict, routes=None):
        if not self.app._start_future.done() and await self._look() is None:
            self.log.warning("The proxy does not answer yet; it gets its routes when it does")
            return
        await super().check_routes(user_dict, service_dict, routes)

    async def add_route(self, routespec, target, data):
        """Where several are added at once, the hub's own comes last: the edge takes a proxy that leads to the hub for one that has all its routes."""
        if routespec == self.app.hub.routespec:
            await asyncio.sleep(0)  # those that are begun together with this one
            if self._adding:
                await asyncio.wait(set(self._adding), timeout=_OTHERS_PATIENCE)
            await super().add_route(routespec, target, data)
            return
        added = asyncio.get_running_loop().create_future()
        self._adding.add(added)
        try:
            await super().add_route(routespec, target, data)
        finally:
            self._adding.discard(added)
            added.set_result(None)

    def _start_watching(self):
        if self._watcher is None:
            self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self):
        # Not the future itself: who awaits it may cancel it.
        await asyncio.shield(self.app._start_future)
        if self.when_serving is not None:
            try:
                await self.when_serving(self.app)
            except Exception:
                self.log.exception("Cannot finish the start")
        notify("READY=1\nSTATUS=Serving")
        while True:
            try:
                await self._round()
            except Exception:
                self.log.exception("Cannot look after the proxy's routes")
            await asyncio.sleep(self.watch_interval)

    async def _round(self):
        found = await self._look()
        if (found is None) != self._away:
            self._away = found is None
            self.log.warning("The proxy does not answer" if self._away else "The proxy answers again")
        if found is None:
            return
        if missing := self._wanted() - found:
            self.log.warning("The proxy lacks %d routes; giving them back", len(missing))
            await self.check_routes(self.app.users, self.app._service_map)
            self.log.info("The proxy has its routes")

    def _wanted(self) -> set[str]:
        """The routes that have to be there: the hub's and those of servers that nothing is being done to."""
        wanted = {self._routespec_to_chp_path(self.app.hub.routespec)}
        for user in self.app.users.values():
            wanted |= {self._routespec_to_chp_path(server.proxy_spec) for server in user.spawners.values() if server.ready}
        return wanted

    async def _look(self) -> set[str] | None:
        """The paths that the proxy leads somewhere for the hub; None if it does not answer. One cheap request, not logged."""
        try:
            reply = await fetch(
                url_path_join(self.api_url, "api/routes"),
                headers={"Authorization": f"token {self.auth_token}"},
                timeout=aiohttp.ClientTimeout(total=5),
            )
            routes = await reply.json()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.log.debug("The proxy does not answer: %s", error)
            return None
        return {self._routespec_to_chp_path(self._routespec_from_chp_path(path)) for path, data in routes.items() if "jupyterhub" in data}
