"""The watch over the admins' group, in a real hub; the machine's accounts are played."""

import asyncio

import pytest

from tljh import accounts, admins


class Group:
    """The admins' group: hub users by account, and what runs with it."""

    def __init__(self):
        self.members, self.running, self.events = {}, set(), []

    def leave(self, account):
        self.members.pop(account, None)
        self.events.append(f"{account} leaves")

    def end(self, account):
        self.running.discard(account)
        self.events.append(f"what runs of {account} ends")


@pytest.fixture
def group(monkeypatch):
    made = Group()
    monkeypatch.setattr(accounts, "in_admins_group", lambda former: dict(made.members))
    monkeypatch.setattr(accounts, "leave_admins", made.leave)
    monkeypatch.setattr(accounts, "with_admins_group", lambda account: [1] if account in made.running else [])
    monkeypatch.setattr(accounts, "end_with_admins_group", made.end)
    return made


@pytest.fixture
def watched(hub, group):
    """Runs a test against a hub whose admin zoe is in the group, with the watch on."""

    def run(test):
        async def whole(visitor):
            assert await visitor.api("POST", "users/zoe") == 201
            visitor.app.users["zoe"].orm_user.admin = True
            visitor.app.db.commit()
            group.members["jupyter-zoe"] = "zoe"
            watch = admins.AdminWatch(visitor.app)
            watch.start()
            try:
                await test(visitor, watch)
            finally:
                watch.stop()

        hub(whole, admin_users={"alice"})

    return run


async def settled(watch):
    async with asyncio.timeout(10):
        while watch._task is None:
            await asyncio.sleep(0.01)
        await watch._task


def test_an_admin_who_is_made_a_user_like_others_leaves_at_once(watched, group):
    async def test(visitor, watch):
        visitor.app.users["zoe"].orm_user.admin = False
        visitor.app.db.commit()
        await settled(watch)
        assert group.events == ["jupyter-zoe leaves"]

    watched(test)


def test_an_admin_who_is_removed_leaves_and_what_runs_ends(watched, group):
    group.running.add("jupyter-zoe")

    async def test(visitor, watch):
        assert await visitor.api("DELETE", "users/zoe") == 204
        await settled(watch)
        assert group.events == ["jupyter-zoe leaves", "what runs of jupyter-zoe ends"]

    watched(test)


def test_a_server_is_stopped_in_order_before_the_rest_is_killed(watched, group, monkeypatch):
    group.running.add("jupyter-zoe")

    async def test(visitor, watch):
        zoe = visitor.app.users["zoe"]

        async def stop(server=""):
            group.events.append("the server stops")

        monkeypatch.setattr(type(zoe), "stop", lambda self, server="": stop(server))
        monkeypatch.setattr(type(zoe.spawners[""]), "ready", True)
        zoe.orm_user.admin = False
        visitor.app.db.commit()
        await settled(watch)
        assert group.events == ["jupyter-zoe leaves", "the server stops", "what runs of jupyter-zoe ends"]

    watched(test)


def test_admins_stay_whatever_else_changes(watched, group):
    async def test(visitor, watch):
        assert await visitor.api("POST", "users/bob") == 201
        visitor.app.users["bob"].orm_user.admin = False
        visitor.app.users["zoe"].orm_user.admin = True
        visitor.app.db.commit()
        assert await visitor.api("DELETE", "users/bob") == 204
        await settled(watch)
        await watch.check()
        assert group.events == []

    watched(test)


def test_a_trouble_is_told_and_the_next_look_is_made(watched, group, monkeypatch, caplog):
    async def test(visitor, watch):
        whole = accounts.in_admins_group
        monkeypatch.setattr(accounts, "in_admins_group", lambda former: 1 / 0)
        await watch.check({"zoe"})
        assert "Cannot update the group" in caplog.text
        monkeypatch.setattr(accounts, "in_admins_group", whole)
        visitor.app.users["zoe"].orm_user.admin = False
        visitor.app.db.commit()
        await settled(watch)
        assert group.events == ["jupyter-zoe leaves"]

    watched(test)
