"""The hub's side of configurable-http-proxy, which systemd runs.

A proxy that restarts has lost its routes. The hub would give them back at its next round of checks, minutes later;
this class asks every second whether they are there.
"""

import asyncio

from jupyterhub.proxy import ConfigurableHTTPProxy
from traitlets import Float

from .notify import notify


class WatchedProxy(ConfigurableHTTPProxy):
    watch_interval = Float(1.0, config=True, help="Seconds between two looks at the proxy's routes.")

    _watching = None

    async def check_routes(self, user_dict, service_dict, routes=None):
        await super().check_routes(user_dict, service_dict, routes)
        # The first call comes when the hub has started: from now on it serves.
        if self._watching is None:
            self._watching = asyncio.ensure_future(self._watch())
            notify("READY=1\nSTATUS=Serving")

    async def _watch(self):
        well = True
        while True:
            await asyncio.sleep(self.watch_interval)
            try:
                routes = await self.get_all_routes()
                if self.app.hub.routespec not in routes:
                    self.log.warning("The proxy has lost its routes; giving them back")
                    await self.check_routes(self.app.users, self.app._service_map)
                    well = False
                if not well:
                    self.log.info("The proxy has its routes")
                well = True
            except asyncio.CancelledError:
                raise
            except Exception as error:
                if well:
                    self.log.warning("The proxy does not answer: %s", error)
                well = False
