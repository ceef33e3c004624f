import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing

from tljh import check_authenticator, passwords, try_auth


def attempt(here, config, name="alice", password="correct-horse"):
    here.config.write_text(config)
    return asyncio.run(try_auth.attempt(here, name, password))


def test_first_use_stores_nothing(here):
    answer = attempt(here, "users: {allowed: [alice]}")
    assert answer["ok"] is False
    assert "no password" in answer["reason"]
    assert not here.passwords.exists() or passwords.Passwords(here.passwords).get("alice") is None


def test_first_use_compares(here):
    passwords.Passwords(here.passwords).set("alice", passwords.digest("correct-horse"))
    assert attempt(here, "users: {admin: [alice]}") == {"ok": True, "tried": True, "admin": True, "reason": ""}
    assert attempt(here, "users: {admin: [alice]}", password="wrong")["reason"] == "the password is wrong"
    assert attempt(here, "users: {banned: [alice]}")["ok"] is False


def known(here, name):
    """Somebody whom an admin added."""
    with closing(sqlite3.connect(here.database)) as db:
        db.execute("CREATE TABLE IF NOT EXISTS users (name TEXT, admin INTEGER)")
        db.execute("INSERT INTO users VALUES (?, 0)", (name,))
        db.commit()


def test_first_use_asks_who_may_enter(here):
    passwords.Passwords(here.passwords).set("alice", passwords.digest("correct-horse"))
    assert "nobody has allowed" in attempt(here, "users: {admin: [bob]}")["reason"]
    assert attempt(here, "users: {allowed: [alice]}")["ok"] is True
    assert attempt(here, "auth: {FirstUseAuthenticator: {create_users: true}}")["ok"] is True
    known(here, "alice")
    assert attempt(here, "users: {admin: [bob]}") == {"ok": True, "tried": True, "admin": False, "reason": ""}


def test_others_know_whom_an_admin_added(here):
    dummy = "auth: {type: dummy, DummyAuthenticator: {password: correct-horse}}\nusers: {allowed: [bob]}"
    assert attempt(here, dummy)["ok"] is False
    known(here, "alice")
    assert attempt(here, dummy)["ok"] is True


def test_other_authenticators(here):
    dummy = "auth: {type: dummy, DummyAuthenticator: {password: correct-horse, allow_all: true}}"
    assert attempt(here, dummy)["ok"] is True
    assert attempt(here, dummy, password="wrong")["ok"] is False
    github = attempt(here, "auth: {type: github, GitHubOAuthenticator: {client_id: x}}")
    assert github["ok"] is False
    assert "client_secret" in github["reason"]
    assert "another site" in github["reason"]
    assert github["tried"] is False
    assert "no_such" in attempt(here, "auth: {type: no_such.Thing}")["reason"]


def test_what_cannot_be_tried_is_no_refusal(here):
    for kind in ("native", "tmp", "'null'", "github"):
        assert (kind, attempt(here, f"auth: {{type: {kind}}}")["tried"]) == (kind, False)
    ldap = "{server_address: 127.0.0.1, server_port: 9, tls_strategy: insecure, bind_dn_template: ['uid={username},dc=example,dc=org']}"
    answer = attempt(here, f"auth: {{type: ldap, LDAPAuthenticator: {ldap}}}")
    assert (answer["tried"], "cannot be reached" in answer["reason"]) == (False, True)
    assert attempt(here, "auth: {type: dummy, DummyAuthenticator: {password: x}}")["tried"] is True


def test_what_an_authenticator_knows():
    answer = check_authenticator.answer("github", {"GitHubOAuthenticator": {"client_id": 5, "client_secret": "x"}, "OAuthenticator": {}, "Other": {"a": 1}})
    assert answer["ok"]
    assert "client_id" in answer["classes"]["GitHubOAuthenticator"]["options"]
    assert answer["classes"]["OAuthenticator"]["exists"]
    assert answer["classes"]["Other"] == {"exists": False, "options": [], "refused": {}}
    assert answer["classes"]["GitHubOAuthenticator"]["refused"] == {"client_id": "must be a text, not a number"}
    bad = check_authenticator.answer("no_such.Thing", {})
    assert not bad["ok"]
    assert "no_such" in bad["error"]
    assert "sudo tljh-install config add hub.packages NAME" in bad["hint"]
    assert bad["hint"] not in bad["error"]
    misspelt = check_authenticator.answer("oauthenticator.github.NoSuchAuthenticator", {})
    assert (misspelt["ok"], misspelt["hint"]) == (False, ""), "the package is there"
    assert "oauthenticator.github has no NoSuchAuthenticator" in misspelt["error"]
    lacking = check_authenticator.answer("oauthenticator.mediawiki.MWOAuthenticator", {})
    assert "mwoauth" in lacking["error"]
    assert "hub.packages" in lacking["hint"], "a package that the class needs is not"


def test_as_a_program(here):
    done = subprocess.run(
        [sys.executable, "-m", "tljh.check_authenticator"],
        input=json.dumps({"type": "native", "sections": {"NativeAuthenticator": {}}}),
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": "src", "TLJH_ROOT": str(here.root)},
    )
    assert "open_signup" in json.loads(done.stdout)["classes"]["NativeAuthenticator"]["options"]
