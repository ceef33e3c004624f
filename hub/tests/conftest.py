"""A folder in place of /opt/tljh, and a hub that runs in this process with a real log-in form."""

import asyncio
import contextlib
import re
from pathlib import Path

import aiohttp
import pytest
import yaml
from traitlets.config import Config

import tljh
from tljh import accounts, settings
from tljh.paths import Paths


def stand_in(paths, text):
    """Stands for the installer's program, which is the one that reads configs: takes what is YAML. What the program itself says is
    tested where it is made (config/hub_test.go)."""
    try:
        return {"valid": True, "problems": [], "config": yaml.safe_load(text) or {}}
    except yaml.YAMLError:
        return {"valid": False, "problems": ["this is not YAML"]}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "ask", stand_in)
    paths = Paths(tmp_path)
    paths.config_d.mkdir(parents=True)
    paths.state.mkdir(mode=0o700)
    paths.proxy_env.write_text("CONFIGPROXY_AUTH_TOKEN=proxy-secret\n")
    paths.installer_token.write_text("installer-secret\n")
    monkeypatch.setenv("TLJH_ROOT", str(tmp_path))
    return paths


@contextlib.asynccontextmanager
async def running_hub(here, monkeypatch, **options):
    """A real JupyterHub with our authenticator on a free port, without proxy and spawner; gives a Visitor."""
    from jupyterhub.app import JupyterHub
    from jupyterhub.proxy import Proxy
    from jupyterhub.utils import random_port

    from tljh.auth import FirstUseAuthenticator

    class NoProxy(Proxy):
        should_start = False

        async def get_all_routes(self):
            return {}

        async def add_route(self, *args):
            pass

        async def delete_route(self, *args):
            pass

    port = random_port()
    config = Config()
    config.JupyterHub.hub_bind_url = f"http://127.0.0.1:{port}"
    config.JupyterHub.bind_url = f"http://127.0.0.1:{port}"
    config.JupyterHub.proxy_class = NoProxy
    config.JupyterHub.authenticator_class = FirstUseAuthenticator
    config.JupyterHub.db_url = f"sqlite:///{here.database}"
    config.JupyterHub.cookie_secret = b"x" * 32
    config.JupyterHub.template_paths = [str(Path(tljh.__file__).parent / "templates")]
    config.JupyterHub.tornado_settings = {"xsrf_cookies": True}
    config.JupyterHub.services = [{"name": "boss", "api_token": "boss-token-0123456789"}]
    config.JupyterHub.load_roles = [{"name": "boss", "scopes": ["admin:users"], "services": ["boss"]}]
    for key, value in options.pop("app", {}).items():
        config.JupyterHub[key] = value
    config.merge(options.pop("config", Config()))
    for key, value in options.items():
        config.FirstUseAuthenticator[key] = value
    monkeypatch.chdir(here.state)
    JupyterHub.clear_instance()
    app = JupyterHub.instance(config=config, log_level=50)
    await app.initialize([])
    app.init_signal = lambda: None
    app.cleanup_servers = app.cleanup_proxy = False
    await app.start()
    try:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
            yield Visitor(app, session, f"http://127.0.0.1:{port}/hub/")
    finally:
        app.http_server.stop()
        app.metrics_collector.stop()
        for callback in app._periodic_callbacks.values():
            callback.stop()
        await app.cleanup()
        JupyterHub.clear_instance()
        await asyncio.sleep(0)


class Visitor:
    """Somebody with a browser."""

    def __init__(self, app, session, url):
        self.app, self.session, self.url = app, session, url
        self.first = None  # what is on the page for a first log-in, if that was the answer

    async def log_in(self, name, password, **fields):
        """The status of the answer (302: in) and the words of the form."""
        self.session.cookie_jar.clear()
        status, words = await self.post("login", {"username": name, "password": password} | fields)
        if status == 200 and self.first and "repeat" not in fields:
            # The page on which one chooses a password.
            step = {"username": name, "password": password, "repeat": password, "ticket": self.first["ticket"]}
            return await self.post("login", step | fields)
        return status, words

    async def post(self, page, fields):
        async with self.session.get(self.url + page, headers={"Sec-Fetch-Mode": "navigate"}) as reply:
            form = await reply.text()
        token = re.search(r'name="_xsrf" value="([^"]+)"', form)
        assert token, f"no form: {form}"
        data = {key: value for key, value in fields.items() if value is not None} | {"_xsrf": token[1]}
        async with self.session.post(self.url + page, data=data, allow_redirects=False) as reply:
            text = await reply.text()
        first, ticket = 'id="tljh-first-login"' in text, re.search(r'name="ticket" value="([^"]+)"', text)
        self.first = {"ticket": ticket and ticket[1], "code": 'name="code"' in text} if first else None
        found = re.search(r'<(?:p class="login_error"|div class="alert[^>]*)>\s*(?:<p>)?\s*(.*?)\s*</', text, re.DOTALL)
        return reply.status, found[1] if found else ""

    async def api(self, method, path):
        headers = {"Authorization": "token boss-token-0123456789"}
        async with self.session.request(method, f"{self.url}api/{path}", headers=headers) as reply:
            return reply.status


@pytest.fixture
def no_accounts(monkeypatch):
    """This machine's accounts have nothing to do with these hub users; a test may put names in."""
    there = set()
    monkeypatch.setattr(accounts, "exists", lambda name: name in there)
    return there


@pytest.fixture
def hub(here, monkeypatch):
    """Runs an async test against a hub: hub(test, **options of the authenticator)."""

    def run(test, **options):
        async def whole():
            async with running_hub(here, monkeypatch, **options) as visitor:
                await asyncio.wait_for(test(visitor), 120)

        asyncio.run(whole())

    return run
