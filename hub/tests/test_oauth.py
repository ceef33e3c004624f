"""Real logins at a real JupyterHub by every authenticator that sends people to a provider, which has the shapes of the real one."""

import asyncio
import re
import socket
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from conftest import running_hub
from provider import CLIENT, SECRET, Provider, serving
from traitlets.config import Config

from tljh import configure, settings


def address(name):
    return f"{name}@example.org"


# What stands at each provider's addresses, and the options that lead there: {} is the provider's own address.
KINDS = {
    "github": (
        ("/login/oauth/authorize", "/login/oauth/access_token", "/api/v3/user"),
        lambda name: {"login": name, "id": 7, "email": address(name), "name": name.title(), "type": "User"},
        "GitHubOAuthenticator",
        {"github_url": "{}"},
    ),
    "gitlab": (
        ("/oauth/authorize", "/oauth/token", "/api/v4/user"),
        lambda name: {"id": 7, "username": name, "name": name.title(), "state": "active", "email": address(name)},
        "GitLabOAuthenticator",
        {"gitlab_url": "{}"},
    ),
    "google": (
        ("/o/oauth2/v2/auth", "/oauth2/v4/token", "/oauth2/v1/userinfo"),
        lambda name: {"id": "7", "email": address(name), "verified_email": name != "unverified", "hd": "example.org"},
        "GoogleOAuthenticator",
        {"google_api_url": "{}", "authorize_url": "{}/o/oauth2/v2/auth", "hosted_domain": ["example.org"]},
    ),
    "azuread": (
        ("/a-tenant/oauth2/v2.0/authorize", "/a-tenant/oauth2/v2.0/token", None),
        lambda name: {"name": name.title(), "preferred_username": name, "oid": "7", "tid": "a-tenant", "sub": "7", "ver": "2.0"},
        "AzureAdOAuthenticator",
        {
            "tenant_id": "a-tenant",
            "authorize_url": "{}/a-tenant/oauth2/v2.0/authorize",
            "token_url": "{}/a-tenant/oauth2/v2.0/token",
            "username_claim": "preferred_username",
            "scope": ["openid", "profile"],
        },
    ),
    "bitbucket": (
        ("/site/oauth2/authorize", "/site/oauth2/access_token", "/2.0/user"),
        lambda name: {"username": name, "display_name": name.title(), "uuid": "{7}", "type": "user"},
        "BitbucketOAuthenticator",
        {"authorize_url": "{}/site/oauth2/authorize", "token_url": "{}/site/oauth2/access_token", "userdata_url": "{}/2.0/user"},
    ),
    "auth0": (
        ("/authorize", "/oauth/token", "/userinfo"),
        lambda name: {"sub": "auth0|7", "nickname": name, "email": address(name), "email_verified": True},
        "Auth0OAuthenticator",
        {
            "auth0_domain": "nowhere.invalid",
            "authorize_url": "{}/authorize",
            "token_url": "{}/oauth/token",
            "userdata_url": "{}/userinfo",
            "username_claim": "nickname",
        },
    ),
    "cilogon": (
        ("/authorize", "/oauth2/token", "/oauth2/userinfo"),
        lambda name: {"sub": "7", "idp": "https://idp.example.org/shibboleth", "eppn": address(name), "email": address(name)},
        "CILogonOAuthenticator",
        {
            "authorize_url": "{}/authorize",
            "token_url": "{}/oauth2/token",
            "userdata_url": "{}/oauth2/userinfo",
            "idps": {
                "https://idp.example.org/shibboleth": {"username_derivation": {"username_claim": "eppn", "action": "strip_idp_domain", "domain": "example.org"}}
            },
        },
    ),
    "globus": (
        ("/v2/oauth2/authorize", "/v2/oauth2/token", "/v2/oauth2/userinfo"),
        lambda name: {"sub": "7", "preferred_username": address(name), "name": name.title(), "email": address(name)},
        "GlobusOAuthenticator",
        {"authorize_url": "{}/v2/oauth2/authorize", "token_url": "{}/v2/oauth2/token", "userdata_url": "{}/v2/oauth2/userinfo"},
    ),
    "openshift": (
        ("/oauth/authorize", "/oauth/token", "/apis/user.openshift.io/v1/users/~"),
        lambda name: {"kind": "User", "apiVersion": "user.openshift.io/v1", "metadata": {"name": name, "uid": "7"}, "groups": []},
        "OpenShiftOAuthenticator",
        {"openshift_url": "{}", "openshift_auth_api_url": "{}"},
    ),
    "generic-oauth": (  # also Cognito, Keycloak, Okta and others: their addresses are given one by one
        ("/oauth2/authorize", "/oauth2/token", "/oauth2/userInfo"),
        lambda name: {"sub": "7", "username": name, "email": address(name), "groups": ["class"]},
        "GenericOAuthenticator",
        {
            "authorize_url": "{}/oauth2/authorize",
            "token_url": "{}/oauth2/token",
            "userdata_url": "{}/oauth2/userInfo",
            "username_claim": "username",
            "login_service": "the university",
            "basic_auth": True,
        },
    ),
}


def config_of(kind, place, **more):
    cls, options = KINDS[kind.removeprefix("local-")][2:]
    options = {key: value.replace("{}", place) if isinstance(value, str) else value for key, value in options.items()}
    options |= {"client_id": CLIENT, "client_secret": SECRET} | more
    return yaml.safe_dump({"auth": {"type": kind, cls: options}, "users": {"admin": ["boss"], "allowed": ["alice"], "banned": ["eve"]}})


@pytest.fixture
def provided(here, monkeypatch):
    """Runs an async test with a visitor of a hub and the provider that its authenticator sends people to."""

    def run(kind, test, **options):
        async def whole():
            provider = Provider(*KINDS[kind.removeprefix("local-")][:2])
            async with serving(provider) as place:
                provider.place = place
                config = settings.of_values(yaml.safe_load(config_of(kind, place, **options)))
                c = Config()
                configure.logins(c, config, configure.usable_authenticator(config.auth))
                async with running_hub(here, monkeypatch, config=c) as visitor:
                    await asyncio.wait_for(test(visitor, provider), 120)

        asyncio.run(whole())

    return run


async def come(visitor, provider, user, change=lambda back: back):
    """Somebody logs in with an empty browser: the status of the last answer, its words, and where it leads. `change` makes another of the address that the
    provider sends the browser to."""
    visitor.session.cookie_jar.clear()
    provider.user = user
    async with visitor.session.get(visitor.url + "login") as reply:
        assert reply.status == 200
        link = re.search(r'href=[\'"]([^\'"]*oauth_login[^\'"]*)', await reply.text())[1]
    base = visitor.url.removesuffix("/hub/")
    async with visitor.session.get(base + link.replace("&amp;", "&"), allow_redirects=False) as reply:
        assert reply.status == 302
        there = reply.headers["Location"]
    async with visitor.session.get(there, allow_redirects=False) as reply:
        assert reply.status == 302, await reply.text()
        back = reply.headers["Location"]
    async with visitor.session.get(change(back), allow_redirects=False) as reply:
        return reply.status, await reply.text(), reply.headers.get("Location", "")


async def who(visitor):
    """The name that the hub knows the browser by, and whether that is an admin."""
    async with visitor.session.get(visitor.url + "home") as reply:
        found = re.search(r'user: "([^"]*)"', await reply.text())
    async with visitor.session.get(visitor.url + "admin", allow_redirects=False) as reply:
        return found[1] if found else "", reply.status == 200


@pytest.mark.parametrize("kind", KINDS)
def test_logins(provided, kind):
    async def test(visitor, provider):
        assert (await come(visitor, provider, "alice"))[0] == 302
        assert (await who(visitor)) == ("alice", False)
        assert (await come(visitor, provider, "boss"))[0] == 302
        assert (await who(visitor)) == ("boss", True)
        for name in ("eve", "nobody"):
            assert (name, (await come(visitor, provider, name))[0]) == (name, 403)
            assert await who(visitor) == ("", False)
        status, words, _ = await come(visitor, provider, None)
        assert (status, "said no" in words) == (400, True)
        callback = visitor.url + "oauth_callback"
        assert {asked["redirect_uri"] for asked in provider.asked} == {callback}
        assert all(asked["code_challenge_method"] == "S256" for asked in provider.asked)

    provided(kind, test)


def test_what_is_made_up_is_refused(provided):
    async def test(visitor, provider):
        status, words, _ = await come(visitor, provider, "alice", lambda back: back.replace("code=", "code=x"))
        assert (status, "did not confirm" in words) == (403, True)
        status, _, _ = await come(visitor, provider, "alice", lambda back: back.replace("state=", "state=x"))
        assert status == 400
        status, _, _ = await come(visitor, provider, "alice", lambda back: back.partition("?")[0])
        assert status == 400
        # A page that was opened twice.
        used = []
        await come(visitor, provider, "alice", lambda back: used.append(back) or back)
        async with visitor.session.get(used[0], allow_redirects=False) as reply:
            assert reply.status == 400
        assert len({parse_qs(urlsplit(asked["redirect_uri"]).query).get("code", [""])[0] for asked in provider.asked}) == 1

    provided("github", test)


def test_a_provider_in_trouble_is_told(provided):
    async def test(visitor, provider):
        provider.down = True
        status, words, _ = await come(visitor, provider, "alice")
        assert (status, "GitHub cannot be reached" in words) == (503, True)
        provider.down, provider.secret = False, "another"
        status, words, _ = await come(visitor, provider, "alice")
        assert (status, "GitHub did not confirm" in words) == (403, True)

    provided("github", test)


def test_a_provider_that_is_away_is_told(provided):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{unused.getsockname()[1]}/token"

        async def test(visitor, provider):
            status, words, _ = await come(visitor, provider, "alice")
            assert (status, "GitHub cannot be reached" in words) == (503, True)

        provided("github", test, token_url=place)


def test_an_answer_without_a_name_is_told(provided):
    async def test(visitor, provider):
        status, words, _ = await come(visitor, provider, "alice")
        assert (status, "cannot use" in words) == (502, True)

    provided("generic-oauth", test, username_claim="missing")


def test_an_unverified_address_is_refused(provided):
    async def test(visitor, provider):
        assert (await come(visitor, provider, "unverified"))[0] == 403

    provided("google", test)


def test_the_address_to_return_to_can_be_given(provided):
    async def test(visitor, provider):
        await come(visitor, provider, "alice", lambda back: back.replace("https://hub.example.org/hub/", visitor.url))
        assert await who(visitor) == ("alice", False)
        assert provider.asked[0]["redirect_uri"] == "https://hub.example.org/hub/oauth_callback"

    provided("github", test, oauth_callback_url="https://hub.example.org/hub/oauth_callback")


def test_local_accounts_are_needed_where_they_are_asked_for(provided):
    async def test(visitor, provider):
        for _ in range(2):
            status, words, _ = await come(visitor, provider, "alice")
            assert (status, "no account alice" in words) == (403, True)
        assert (await come(visitor, provider, "root"))[0] == 302  # which is here on every machine
        assert await who(visitor) == ("root", False)

    provided("local-github", test, allow_all=True)


def test_a_provider_is_asked_through_the_networks_proxy(provided, monkeypatch):
    """The hub's unit gets the variables of the proxy, and the client that OAuthenticator has in a hub goes by them."""
    far = {"token_url": "http://login.invalid/login/oauth/access_token", "userdata_url": "http://login.invalid/api/v3/user"}

    async def test(visitor, provider):
        monkeypatch.setenv("http_proxy", provider.place)
        monkeypatch.setenv("no_proxy", "localhost,127.0.0.1,::1")
        assert (await come(visitor, provider, "alice"))[0] == 302
        assert (await who(visitor)) == ("alice", False)
        assert provider.fetched == list(far.values())

    provided("github", test, **far)


def test_no_proxy_comes_between_a_hub_and_what_is_near(provided, monkeypatch):
    async def test(visitor, provider):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "localhost,127.0.0.1,::1")
        assert (await come(visitor, provider, "alice"))[0] == 302
        assert provider.fetched == ["/login/oauth/access_token", "/api/v3/user"]

    provided("github", test)
