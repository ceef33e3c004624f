"""A database that JupyterHub 5 made (data/jupyterhub-5.sql: alice an admin, bob in the group course, with a server) and what becomes of it."""

import io
import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from tljh import database


@pytest.fixture
def five(tmp_path):
    path = tmp_path / "jupyterhub.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parent / "data/jupyterhub-5.sql").read_text())
    return path


def ask(path, question):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question).fetchall()


def go(monkeypatch, capsys, *arguments, stdin="\n"):
    monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
    code = database.main([str(argument) for argument in arguments])
    return code, capsys.readouterr().out


def test_a_copy_is_private_and_whole_while_the_database_is_in_use(five, tmp_path):
    with closing(sqlite3.connect(five)) as writer:
        writer.execute("INSERT INTO users (name, admin, cookie_id) VALUES ('carol', 0, 'c')")  # and does not commit
        database.copy(five, tmp_path / "copy")
    assert ask(tmp_path / "copy", "SELECT name FROM users ORDER BY name") == [("alice",), ("bob",)]
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600
    assert not list(tmp_path.glob(".copy*"))


def test_follow_keeps_the_old_format_and_brings_the_new(five, tmp_path, monkeypatch, capsys):
    old = database.revision(five)
    assert old and old != database.newest()
    code, out = go(monkeypatch, capsys, "follow", five, tmp_path / "kept", tmp_path / "ready")
    assert (code, json.loads(out)) == (0, {"changed": True})
    assert database.revision(five) == database.newest()
    assert database.revision(tmp_path / "kept") == old
    assert ask(five, "SELECT name, admin FROM users ORDER BY name") == [("alice", 1), ("bob", 0)]
    assert (tmp_path / "ready").exists()


def test_follow_changes_nothing_unless_it_is_told_to(five, tmp_path, monkeypatch, capsys):
    before = five.read_bytes()
    code, out = go(monkeypatch, capsys, "follow", five, tmp_path / "kept", tmp_path / "ready", stdin="")
    assert (code, json.loads(out)) == (0, {"changed": False})
    assert five.read_bytes() == before
    assert not (tmp_path / "kept").exists()


def test_follow_again_leaves_the_copy_alone(five, tmp_path, monkeypatch, capsys):
    kept = tmp_path / "kept"
    go(monkeypatch, capsys, "follow", five, kept, tmp_path / "ready")
    before = kept.read_bytes()
    code, out = go(monkeypatch, capsys, "follow", five, kept, tmp_path / "ready")
    assert (code, json.loads(out)) == (0, {"changed": False})
    assert kept.read_bytes() == before


def test_follow_after_an_interruption_copies_what_came_since(five, tmp_path, monkeypatch, capsys):
    kept = tmp_path / "kept"
    database.copy(five, kept)  # and then the power went, and the old hub ran on
    (tmp_path / "jupyterhub.sqlite.new").write_bytes(b"half")
    with closing(sqlite3.connect(five)) as connection, connection:
        connection.execute("INSERT INTO users (name, admin, cookie_id) VALUES ('carol', 0, 'c')")
    go(monkeypatch, capsys, "follow", five, kept, tmp_path / "ready")
    assert ("carol",) in ask(kept, "SELECT name FROM users")
    assert ("carol",) in ask(five, "SELECT name FROM users")


def test_a_database_that_cannot_be_brought_on_is_left_alone(five, tmp_path, monkeypatch, capsys):
    with closing(sqlite3.connect(five)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    before = five.read_bytes()
    with pytest.raises(Exception, match="ffffffffffff"):
        go(monkeypatch, capsys, "follow", five, tmp_path / "kept", tmp_path / "ready")
    assert five.read_bytes() == before
    assert not (tmp_path / "ready").exists()


def test_the_hub_was_never_started(tmp_path, monkeypatch, capsys):
    code, out = go(monkeypatch, capsys, "follow", tmp_path / "none", tmp_path / "kept", tmp_path / "ready")
    assert (code, json.loads(out)) == (0, {"changed": False})


def test_what_would_be_lost(five, tmp_path, monkeypatch, capsys):
    database.copy(five, tmp_path / "kept")
    database.upgrade(five)
    with closing(sqlite3.connect(five)) as connection, connection:
        connection.execute("INSERT INTO users (name, admin, cookie_id) VALUES ('carol', 1, 'c')")
        connection.execute("DELETE FROM users WHERE name = 'alice'")
        connection.execute("INSERT INTO groups (name) VALUES ('lab')")
    code, out = go(monkeypatch, capsys, "lost", tmp_path / "kept", five)
    assert code == 0
    assert json.loads(out) == {
        "users": ["carol"],
        "admins": ["carol"],
        "groups": ["lab"],
        "members": [],
        "servers": [],
        "shares": [],
        "back": ["alice"],
        "changed": True,
    }


def run_since(path, user, started):
    with closing(sqlite3.connect(path)) as connection, connection:
        (id,) = connection.execute("SELECT id FROM users WHERE name = ?", [user]).fetchone()
        connection.execute("DELETE FROM spawners WHERE user_id = ?", [id])
        connection.execute("INSERT INTO spawners (user_id, server_id, name, started) VALUES (?, 1, '', ?)", [id, started])


@pytest.mark.parametrize(
    ("since", "known", "lost"),
    [
        ({}, [("bob",)], []),
        ({"bob": "2026-01-01 08:00:00"}, [("bob",)], []),
        ({"bob": "2026-01-01 09:00:00"}, [], ["bob"]),  # started anew: his tokens of before are worth nothing
        ({"alice": "2026-01-01 09:00:00"}, [("bob",)], ["alice"]),
    ],
)
def test_going_back_forgets_servers_that_were_started_since(five, tmp_path, monkeypatch, capsys, since, known, lost):
    kept = tmp_path / "kept"
    run_since(five, "bob", "2026-01-01 08:00:00")
    old = database.revision(five)
    go(monkeypatch, capsys, "follow", five, kept, tmp_path / "ready")
    before = kept.read_bytes()
    for user, started in since.items():
        run_since(five, user, started)
    assert json.loads(go(monkeypatch, capsys, "lost", kept, five)[1])["servers"] == lost
    assert go(monkeypatch, capsys, "back", kept, five)[0] == 0
    assert database.revision(five) == old
    assert ask(five, "SELECT users.name FROM spawners, users WHERE users.id = user_id AND server_id IS NOT NULL") == known
    assert kept.read_bytes() == before
    assert stat.S_IMODE(five.stat().st_mode) == 0o600


def test_no_database_is_told(tmp_path, monkeypatch, capsys):
    assert database.main(["lost", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert "unable to open" in capsys.readouterr().err
