"""What the hub answers to those who ask for what is not there or cannot be done, in a real hub."""

import json
import re

import pytest

from tljh import words

NOTHING = "There is nothing at this address"

# Request, status, and words of the answer. Of each kind that a student or an admin can meet.
TABLE = [
    ("GET", "api/nosuch", None, 404, NOTHING),
    ("GET", "api/users/nobody", None, 404, NOTHING),
    ("DELETE", "api/users/nobody", None, 404, NOTHING),
    ("PATCH", "api/users/nobody", {"name": "x"}, 404, NOTHING),
    ("GET", "nosuch", None, 404, NOTHING),
    ("GET", "break-glass", None, 404, NOTHING),
    ("GET", "api/proxy", None, 403, "requires any of [proxy]"),
    ("POST", "login", None, 403, "Login form invalid or expired. Try again."),
    ("POST", "api/users", {}, 400, "Must specify at least one user"),
    ("POST", "api/users", "[", 400, "Invalid JSON"),
    ("POST", "api/users", {"usernames": "ann"}, 400, 'Nobody was added: "usernames" must be a list of names.'),
    ("POST", "api/users", {"usernames": ["ann", 3]}, 400, "Nobody was added, because 1 name of 2 cannot be used. '3': It is not a text. Correct"),
    (
        *("POST", "api/users", {"usernames": ["ann", "ann lee", "bob"]}, 400),
        "Nobody was added, because 1 name of 3 cannot be used. 'ann lee': A name cannot contain spaces, slashes, colons, commas or control characters. Corr",
    ),
    ("POST", "api/users", {"usernames": [f"a {n}" for n in range(12)]}, 400, "because 12 names of 12 cannot be used. 'a 0':"),
    ("POST", "api/users", {"usernames": [f"a {n}" for n in range(12)]}, 400, "; and 2 more. Correct"),
    ("POST", "api/users/ann%20lee", None, 400, "'ann lee' was not added. A name cannot contain spaces"),
    ("POST", "api/users", {"usernames": ["boss", "tom"]}, 201, "tom"),
    ("POST", "api/users", {"usernames": ["boss", "tom"]}, 409, "All 2 users already exist"),
    ("POST", "api/users/tom", None, 409, "User tom already exists"),
]


async def ask(visitor, method, path, body, **headers):
    data = body if isinstance(body, str | None) else json.dumps(body)
    headers = {"Authorization": "token boss-token-0123456789"} | headers
    async with visitor.session.request(method, visitor.url + path, headers=headers, data=data) as reply:
        text = await reply.text()
    if path.startswith("api/") and reply.status >= 400:
        return reply.status, json.loads(text)["message"]
    return reply.status, " ".join(re.sub(r"<script.*?</script>|<[^>]+>", " ", text, flags=re.DOTALL).split())


def test_each_answer_says_what_happened(hub):
    words.install()

    async def test(visitor):
        for method, path, body, status, says in TABLE:
            got, text = await ask(visitor, method, path, body)
            assert (got, says in (text or "")) == (status, True), (method, path, body, got, text)
            assert not re.search(r"\bNone\b|Unhandled|lots of moons", text), (path, text)
        got, text = await ask(visitor, "GET", "api/users", None, Authorization="token wrong")
        assert (got, "Missing or invalid credentials" in text or "log in" in text) == (403, True), text

    hub(test, allow_all=True)


def test_an_error_of_the_hub_says_where_its_reason_is(hub, monkeypatch):
    from jupyterhub.apihandlers.users import UserAPIHandler
    from jupyterhub.handlers.pages import HomeHandler

    words.install()

    def fails(*arguments):
        raise RuntimeError("inner words")

    monkeypatch.setattr(UserAPIHandler, "get", fails)
    monkeypatch.setattr(HomeHandler, "get", fails)

    async def test(visitor):
        for path in ("api/users/boss", "home"):
            got, text = await ask(visitor, "GET", path, None)
            assert got == 500
            assert "tell an admin: the reason is in journalctl -u jupyterhub" in text
            assert "inner words" not in text

    hub(test, allow_all=True)


@pytest.mark.parametrize("said", sorted(words.MORE))
def test_short_words_of_jupyterhubs_get_what_to_do(said):
    from tornado import web

    for error in (web.HTTPError(400, f"{said}: 'Lab 2'"), web.HTTPError(400, "%s", f"{said}: 100%")):
        words.explain(400, error)
        assert error.jupyterhub_message.startswith(said)
        assert error.jupyterhub_message.endswith(words.MORE[said])


@pytest.mark.parametrize(
    "said", ["database is locked", "database or disk is full", "attempt to write a readonly database", "disk I/O error", "database disk image is malformed"]
)
def test_a_database_that_cannot_be_used_has_words(said):
    import sqlite3

    from sqlalchemy.exc import OperationalError

    error = OperationalError("SELECT 1", {}, sqlite3.OperationalError(said))
    words.explain(500, error)
    assert error.jupyterhub_message in words.DATABASE.values()


def test_a_locked_database_has_words_in_a_real_hub(hub, monkeypatch):
    import sqlite3

    from jupyterhub.apihandlers.users import UserAPIHandler
    from sqlalchemy.exc import OperationalError

    words.install()

    def locked(*arguments):
        raise OperationalError("SELECT 1", {}, sqlite3.OperationalError("database is locked"))

    monkeypatch.setattr(UserAPIHandler, "get", locked)

    async def test(visitor):
        got, text = await ask(visitor, "GET", "api/users/boss", None)
        assert (got, text) == (500, words.DATABASE["locked"])

    hub(test, allow_all=True)


@pytest.mark.parametrize("status", sorted({*words.WORDS, 418}))
def test_words_end_in_what_to_do(status):
    from tornado import web

    error = web.HTTPError(status)
    words.explain(status, error)
    assert error.jupyterhub_message.endswith((".", "jupyterhub."))
    assert error.reason
    told = web.HTTPError(status, "said already")
    words.explain(status, told)
    assert not hasattr(told, "jupyterhub_message")
