"""How the hub sees its visitors."""

import re

import pytest
from jupyterhub import _xsrf_utils
from jupyterhub.handlers import BaseHandler
from traitlets.config import Config
from yarl import URL

from tljh import headers, passwords


@pytest.fixture
def hardened(monkeypatch):
    monkeypatch.setattr(_xsrf_utils, "_anonymous_ip_cidrs", _xsrf_utils._anonymous_ip_cidrs)
    for name in ("content_security_policy", "set_cookie", "_validate_next_url", "redirect"):
        monkeypatch.setattr(BaseHandler, name, getattr(BaseHandler, name))
    headers.harden(Config())


def test_a_form_may_be_fetched_by_one_address_and_sent_by_another(here, hub, hardened):
    passwords.Passwords(here.passwords).set("bob", passwords.digest("correct-horse"))

    async def test(visitor):
        async with visitor.session.get(visitor.url + "login", headers={"X-Forwarded-For": "2001:db8::7", "Sec-Fetch-Mode": "navigate"}) as reply:
            token = re.search(r'name="_xsrf" value="([^"]+)"', await reply.text())[1]
        fields = {"username": "bob", "password": "correct-horse", "_xsrf": token}
        async with visitor.session.post(visitor.url + "login", data=fields, headers={"X-Forwarded-For": "192.0.2.7"}, allow_redirects=False) as reply:
            assert reply.status == 302, await reply.text()

    hub(test, allowed_users={"bob"})


ODD = ["/hub/home%0d%0aX-Evil:%20x", "/hub/%0a", "/hub/a%00b", "/hub/%7f", "//evil.test/%0d", "https://evil.test/", "%5C%5Cevil.test/"]
ODD += ["http://[", "%68ttp://[bad/", "//[", "%2568ttp://[bad/", "/hub/user-redirect/%0d%0ax", "/user/bob/lab%0d%0ax"]


def test_odd_links_lead_nowhere_else(here, hub, hardened):
    passwords.Passwords(here.passwords).set("bob", passwords.digest("correct-horse"))

    async def test(visitor):
        await visitor.log_in("bob", "correct-horse")
        pages = [f"{page}?next={address}" for page in ("login", "", "home") for address in ODD]
        for page in [*pages, "user-redirect/%0d%0ax", "user-redirect/[", "spawn/bob/%0d%0ax"]:
            async with visitor.session.get(URL(visitor.url + page, encoded=True), allow_redirects=False) as reply:
                assert reply.status < 500, page
                if "next=" in page and reply.status != 200:
                    assert reply.status == 302, page
                    assert reply.headers["Location"].startswith(("/hub/", "/user/bob")), page
                assert "X-Evil" not in reply.headers
        for address in ODD:
            visitor.session.cookie_jar.clear()
            status, _ = await visitor.post(f"login?next={address}", {"username": "bob", "password": "correct-horse"})
            assert status in (200, 302), address

    hub(test, allowed_users={"bob"})
