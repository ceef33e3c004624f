import asyncio
import logging

import pytest
from conftest import running_hub
from jupyterhub.spawner import Spawner
from jupyterhub.user import User
from sqlalchemy import text
from traitlets.config import Config

from tljh import stops


class Ended(Spawner):
    """A server that is there until somebody ends it."""

    alive = True

    async def start(self):
        return "127.0.0.1", 1

    async def poll(self):
        return None if self.alive else 0

    async def stop(self, now=False):
        self.alive = False


@pytest.fixture
def mended(monkeypatch):
    monkeypatch.setattr(User, "stop", stops._repeated(User.stop))
    monkeypatch.setattr(User, "log", logging.getLogger("hub"))
    monkeypatch.setattr(stops, "_LONGEST", 0.2)


def test_a_server_that_ends_while_the_database_cannot_be_written_is_written_down_later(here, monkeypatch, no_accounts, mended, caplog):
    async def ends():
        c = Config()
        c.JupyterHub.spawner_class = Ended
        async with running_hub(here, monkeypatch, config=c) as visitor:
            assert await visitor.api("POST", "users/bob") == 201
            user = visitor.app.users["bob"]
            spawner = user.spawners[""]
            user.db.execute(text("PRAGMA query_only = ON"))
            ending = asyncio.ensure_future(user.stop())
            async with asyncio.timeout(20):
                while "does not take it" not in caplog.text:
                    await asyncio.sleep(0.01)
            assert spawner._stop_pending and not spawner.alive and not ending.done()
            user.db.execute(text("PRAGMA query_only = OFF"))
            async with asyncio.timeout(20):
                await ending
            assert not spawner._stop_pending and not user.running

    asyncio.run(ends())
