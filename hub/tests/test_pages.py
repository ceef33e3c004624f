"""What the hub's pages show of the config, in a real hub."""

import time

from traitlets.config import Config

from tljh import configure, passwords, rescue, settings
from tljh.failures import Story

PROBLEM = "users.admin must be a list <b>of names</b>"
SHOWN = {"tljh_name": "Physics <101>", "tljh_announcement": "Exam <script>at nine", "tljh_problems": [PROBLEM]}


async def page(visitor, name):
    async with visitor.session.get(visitor.url + name) as reply:
        return await reply.text()


def test_name_and_announcement_are_text(here, hub):
    async def test(visitor):
        text = await page(visitor, "login")
        assert "<title>Physics &lt;101&gt;</title>" in text.replace("\n", "").replace("  ", "")
        assert text.count("Physics &lt;101&gt;</") == 3, "in the tab, in the header and above the form"
        assert "Exam &lt;script&gt;at nine" in text
        assert PROBLEM not in text
        assert "of names" not in text, "strangers see what is wrong with the config"
        assert "Admins of this hub: please log in" in text, "nobody who comes to log in learns that there is something to see to"

    hub(test, app={"template_vars": dict(SHOWN)})


def test_only_admins_see_what_is_wrong(here, hub):
    store = passwords.Passwords(here.passwords)
    for name in ("alice", "bob"):
        store.set(name, passwords.digest("correct-horse"))

    async def test(visitor):
        for name, seen in (("alice", True), ("bob", False)):
            status, _ = await visitor.log_in(name, "correct-horse")
            assert status == 302
            home = await page(visitor, "home")
            assert ("users.admin must be a list &lt;b&gt;of names" in home) is seen
            assert 'id="tljh-name">Physics &lt;101&gt;<' in home
            assert "tljh-look" not in home

    hub(test, admin_users={"alice"}, allowed_users={"bob"}, app={"template_vars": dict(SHOWN)})


def test_without_problems_nobody_is_sent_to_look(here, hub):
    async def test(visitor):
        assert "tljh-look" not in await page(visitor, "login")

    hub(test, app={"template_vars": SHOWN | {"tljh_problems": []}})


def test_admins_see_at_once_that_servers_need_the_rescue_environment(here, hub):
    store = passwords.Passwords(here.passwords)
    for name in ("alice", "bob"):
        store.set(name, passwords.digest("correct-horse"))
    config = Config()
    configure.pages(config, here, settings.Loaded(settings.Config(), ""))

    async def test(visitor):
        for name, admin in (("bob", False), ("alice", True)):
            await visitor.log_in(name, "correct-horse")
            assert "rescue environment" not in await page(visitor, "home")
            rescue.tell(here.rescue_told, Story("environment", "It is <broken>.", lines=["why"]))
            text = await page(visitor, "home")
            assert ("It is &lt;broken&gt;." in text) is (rescue.REPAIR in text) is ("<code>why</code>" in text) is admin
            rescue.forget(here.rescue_told, time.time() + 1)

    hub(test, admin_users={"alice"}, allowed_users={"bob"}, app={"template_vars": config.JupyterHub.template_vars})
