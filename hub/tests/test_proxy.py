"""The watcher, against something that speaks as configurable-http-proxy does."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from aiohttp import web
from traitlets.config import Config

from tljh import proxy
from tljh.proxy import WatchedProxy


class Table:
    """A proxy's route table behind its API."""

    def __init__(self, port):
        self.port, self.routes, self.posts, self.runner = port, {}, 0, None
        self.order, self.slow = [], []

    async def start(self):
        app = web.Application()
        app.router.add_get("/api/routes", self.get)
        app.router.add_post("/api/routes{path:.*}", self.post)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        # What --default-target makes is not the hub's.
        self.routes = {"/": {"target": "http://hub"}}

    async def stop(self):
        await self.runner.cleanup()

    async def get(self, request):
        if request.headers.get("Authorization") != "token secret":
            raise web.HTTPForbidden
        return web.json_response(self.routes)

    async def post(self, request):
        self.posts += 1
        path = request.match_info["path"] or "/"
        if path in self.slow:
            await asyncio.sleep(0.5)
        self.order.append(path)
        self.routes[path] = await request.json()
        return web.Response(status=201)


def user(name, ready=True):
    server = SimpleNamespace(host=f"http+unix://%2F{name}.sock")
    made = SimpleNamespace(ready=ready, pending=None, proxy_spec=f"/user/{name}/", server=server)
    return SimpleNamespace(name=name, proxy_spec=f"/user/{name}/", spawners={"": made})


async def eventually(condition, limit=10):
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < limit, "not in time"
        await asyncio.sleep(0.02)
    return time.monotonic() - begun


@pytest.fixture
def watched(unused_port, monkeypatch):
    told = []
    monkeypatch.setattr(proxy, "notify", told.append)

    def run(test):
        async def whole():
            hub = SimpleNamespace(routespec="/", host="http://127.0.0.1:971")
            users = {1: user("bob"), 2: user("slow", ready=False)}
            app = SimpleNamespace(_start_future=asyncio.Future(), hub=hub, users=users, _service_map={}, internal_ssl=False, subdomain_host="")
            config = Config()
            config.WatchedProxy.api_url = f"http://127.0.0.1:{unused_port}"
            config.WatchedProxy.auth_token = "secret"
            config.WatchedProxy.should_start = False
            config.WatchedProxy.watch_interval = 0.1

            async def serving(app):
                told.append("serving")

            config.WatchedProxy.when_serving = serving
            made = WatchedProxy(config=config, app=app, hub=hub, public_url="http://127.0.0.1")
            try:
                await test(made, app, Table(unused_port), told)
            finally:
                if made._watcher is not None:
                    made._watcher.cancel()

        asyncio.run(whole())

    return run


@pytest.fixture
def unused_port():
    from jupyterhub.utils import random_port

    return random_port()


def hubs(table):
    return {path for path, data in table.routes.items() if data.get("jupyterhub")}


def test_the_hubs_own_route_comes_last(watched):
    async def test(made, app, table, told):
        await table.start()
        table.slow = ["/user/bob"]
        app.users[3] = user("carol")
        table.routes = {}
        app._start_future.set_result(None)
        await made.get_all_routes()
        await eventually(lambda: "/" in table.order)
        assert {"/user/bob", "/user/carol"} <= set(table.order[: table.order.index("/")])
        await table.stop()

    watched(test)


def test_a_hub_starts_without_the_proxy_and_tells_systemd_only_then(watched):
    async def test(made, app, table, told):
        assert await asyncio.wait_for(made.get_all_routes(), 5) == {}
        await asyncio.wait_for(made.check_routes(app.users, {}), 5)
        await asyncio.sleep(0.3)
        assert told == []
        app._start_future.set_result(None)
        await eventually(lambda: "READY=1\nSTATUS=Serving" in told)
        assert told[0] == "serving"
        await table.start()
        await eventually(lambda: hubs(table) == {"/", "/user/bob"})
        await table.stop()

    watched(test)


def test_routes_come_back_after_every_restart(watched):
    async def test(made, app, table, told):
        await table.start()
        await made.get_all_routes()
        app._start_future.set_result(None)
        await eventually(lambda: hubs(table) == {"/", "/user/bob"})
        for _ in range(3):
            await table.stop()
            await asyncio.sleep(0.25)
            await table.start()
            await eventually(lambda: hubs(table) == {"/", "/user/bob"}, limit=2)
        await table.stop()

    watched(test)


def test_one_lost_route_comes_back_and_nothing_is_posted_without_need(watched):
    async def test(made, app, table, told):
        await table.start()
        await made.get_all_routes()
        app._start_future.set_result(None)
        await eventually(lambda: hubs(table) == {"/", "/user/bob"})
        posts = table.posts
        await asyncio.sleep(0.5)
        assert table.posts == posts
        del table.routes["/user/bob"]
        await eventually(lambda: "/user/bob" in table.routes, limit=2)
        await table.stop()

    watched(test)
