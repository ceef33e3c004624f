import io
import os
import stat
import subprocess
import sys
import threading

import pytest

from tljh import passwords
from tljh.passwords import Passwords

GOOD = "correct horse"


def call(monkeypatch, capsys, *argv, text=GOOD + "\n"):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text if isinstance(text, bytes) else text.encode())))
    code = passwords.main(list(argv))
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.mark.parametrize(
    ("password", "words"),
    [("short", "too short"), ("x" * 73, "too long"), ("ü" * 37, "too long"), ("null\0inside", "NUL"), ("lone\udc80surrogate", "cannot be stored")],
)
def test_what_cannot_be_a_password_is_told(password, words):
    assert words in passwords.problem(password)
    assert passwords.matches(password, passwords.digest(GOOD)) is False


@pytest.mark.parametrize("password", ["sevench", "x" * 72, "ü" * 36, " spaces stay "])
def test_good_passwords_match_themselves_only(password):
    assert passwords.problem(password) is None
    stored = passwords.digest(password)
    assert passwords.matches(password, stored)
    assert not passwords.matches(password[:-1], stored)


def test_passwords_are_kept_as_hashes_of_bcrypt(here):
    store = Passwords(here.passwords)
    store.set("alice", passwords.digest(GOOD))
    assert store.get("alice").startswith(b"$2b$1")
    assert GOOD.encode() not in here.passwords.read_bytes()


def test_a_damaged_digest_matches_nothing():
    assert not passwords.matches(GOOD, b"no digest")


def test_the_file_is_only_for_its_owner_whatever_the_umask(here):
    old = os.umask(0)
    try:
        Passwords(here.passwords).set("alice", passwords.digest(GOOD))
    finally:
        os.umask(old)
    assert stat.S_IMODE(here.passwords.stat().st_mode) == 0o600
    assert [path.name for path in here.state.iterdir() if path.name.startswith("passwords")] == ["passwords.sqlite"]


def test_add_keeps_what_is_there(here):
    store = Passwords(here.passwords)
    assert store.add("alice", b"first")
    assert not store.add("alice", b"second")
    assert store.get("alice") == b"first"


def test_forget_lets_the_name_be_taken_again(here):
    store = Passwords(here.passwords)
    store.set("bob", b"old")
    assert not store.let_go("bob")
    store.forget("bob")
    assert store.get("bob") is None
    assert store.let_go("bob")
    assert store.names() == []
    assert store.add("bob", b"new")
    assert not store.let_go("bob")


def test_of_many_who_come_first_one_wins(here):
    store = Passwords(here.passwords)
    won, ready = [], threading.Barrier(8)

    def claim(number):
        ready.wait()
        if store.add("carol", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=claim, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("carol") == str(won[0]).encode()


def test_commands(here, monkeypatch, capsys):
    here.config.write_text("users: {admin: [alice]}")
    assert call(monkeypatch, capsys, "set", "Alice") == (passwords.DONE, "", "")
    assert call(monkeypatch, capsys, "set", "--if-absent", "alice", text="another password\n")[0] == passwords.KEPT
    assert passwords.matches(GOOD, Passwords(here.passwords).get("alice"))
    assert call(monkeypatch, capsys, "set", "--if-absent", "bob")[0] == passwords.DONE
    assert call(monkeypatch, capsys, "list")[1] == "alice\nbob\n"
    assert call(monkeypatch, capsys, "set", "carol", text="admin\n")[0] == passwords.REFUSED
    assert call(monkeypatch, capsys, "set", "--short", "carol", text="admin\n")[0] == passwords.DONE
    assert call(monkeypatch, capsys, "set", "--short", "carol", text="\n")[0] == passwords.REFUSED
    assert call(monkeypatch, capsys, "forget", "carol")[0] == passwords.DONE
    code, _, err = call(monkeypatch, capsys, "forget", "alice")
    assert (code, "admin" in err) == (passwords.REFUSED, True)
    assert call(monkeypatch, capsys, "forget", "bob")[0] == passwords.DONE
    assert call(monkeypatch, capsys, "list")[1] == "alice\n"


@pytest.mark.parametrize("text", ["", "short\n", "x" * 73 + "\n", b"\xff\xfe\xfd bytes \xff\n", "nul\0nul\0nul\n"])
def test_set_refuses_what_cannot_be_a_password(here, monkeypatch, capsys, text):
    code, out, err = call(monkeypatch, capsys, "set", "bob", text=text)
    assert (code, out) == (passwords.REFUSED, "")
    assert err
    assert "Traceback" not in err
    assert Passwords(here.passwords).names() == []


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a b", "a\nb", ".", "..", "x" * 201, "tljh-probe", "a,b"])
def test_set_refuses_bad_names(here, monkeypatch, capsys, name):
    assert call(monkeypatch, capsys, "set", name)[0] == passwords.REFUSED


def test_the_configured_length_holds_for_root_too(here, monkeypatch, capsys):
    here.config.write_text("auth: {FirstUseAuthenticator: {min_password_length: 20}}")
    assert call(monkeypatch, capsys, "set", "bob")[0] == passwords.REFUSED


def test_admins_of_the_hub_cannot_be_forgotten(here, monkeypatch, capsys):
    import sqlite3

    with sqlite3.connect(here.database) as db:
        db.execute("CREATE TABLE users (name TEXT, admin BOOLEAN)")
        db.execute("INSERT INTO users VALUES ('zoe', 1)")
    assert call(monkeypatch, capsys, "forget", "zoe")[0] == passwords.REFUSED


def test_who_is_known(here, monkeypatch, capsys):
    import sqlite3

    with sqlite3.connect(here.database) as db:
        db.execute("CREATE TABLE users (name TEXT, admin BOOLEAN)")
        db.execute("INSERT INTO users VALUES ('bob', 0)")
    here.config.write_text("users:\n  admin: [alice]\n  allowed: [carol]\n")
    Passwords(here.passwords).forget("dan")
    for name in ("bob", "Bob", "alice", "carol", "dan"):
        assert call(monkeypatch, capsys, "known", name)[0] == passwords.DONE, name
    assert call(monkeypatch, capsys, "known", "nobody9")[0] == passwords.UNKNOWN
    here.config.write_text("auth:\n  FirstUseAuthenticator:\n    create_users: true\n")
    assert call(monkeypatch, capsys, "known", "nobody9")[0] == passwords.DONE


def test_a_place_that_cannot_be_written_is_told(here, monkeypatch, capsys):
    here.passwords.mkdir()
    code, _, err = call(monkeypatch, capsys, "set", "bob")
    assert code == passwords.FAILED
    assert "cannot use" in err


def test_run_as_root_runs_it(here):
    source = passwords.__file__.rsplit("/", 2)[0]
    done = subprocess.run(
        [sys.executable, "-m", "tljh.passwords", "set", "dora"],
        input=b"a long password\n",
        capture_output=True,
        env=os.environ | {"PYTHONPATH": source},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert passwords.matches("a long password", Passwords(here.passwords).get("dora"))


@pytest.mark.parametrize(("argv", "told"), [(["set"], ["bob"]), (["set", "--one-time"], ["bob"]), (["set", "--if-absent"], []), (["forget"], ["bob"])])
def test_whose_password_root_changes_is_to_be_logged_out(here, monkeypatch, capsys, argv, told):
    assert call(monkeypatch, capsys, *argv, "bob")[0] == 0
    store = Passwords(here.passwords)
    assert store.to_log_out() == told
    store.logged_out("bob")
    assert store.to_log_out() == []
