import ast
import dbm.dumb
import dbm.ndbm
import dbm.sqlite3
import gzip
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tljh import accounts, database, older, older_look
from tljh.passwords import Passwords

DATA = Path(__file__).parent / "data"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(older.__file__).parent.parent)}
DIGESTS = {"alice": b"$2b$12$alice", "bob@example.org": b"$2b$12$bob", "zo\xeb": b"$2b$12$zoe"}


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "older"
    folder.mkdir()
    return folder


def fill(module, path):
    with closing(module.open(str(path), "c", 0o600)) as db:
        for name, digest in DIGESTS.items():
            db[name.encode()] = digest


@pytest.mark.parametrize("module", [dbm.dumb, dbm.ndbm, dbm.sqlite3])
def test_every_kind_of_dbm_that_this_python_writes_is_read(state, module):
    fill(module, state / "passwords.dbm")
    assert older_look.passwords(str(state / "passwords.dbm")) == DIGESTS


def fill_one(path, name):
    with closing(dbm.sqlite3.open(str(path), "c", 0o600)) as db:
        db[name.encode()] = b"$2b$12$one"


def gdbm(state):
    """Made by GNU dbm itself, in blocks of 512 bytes, so that it has many buckets; one entry was deleted."""
    (state / "passwords.dbm").write_bytes(gzip.decompress((DATA / "passwords.gdbm.gz").read_bytes()))
    return {f"user{n}": b"$2b$12$%053d" % n for n in range(200)}


def test_a_file_of_gnu_dbm_is_read_without_its_library(state):
    assert older_look.passwords(str(state / "passwords.dbm")) == {}
    want = gdbm(state)
    assert older_look.passwords(str(state / "passwords.dbm")) == want


def test_what_is_damaged_is_told_and_nothing_is_taken(state, here):
    gdbm(state)
    whole = (state / "passwords.dbm").read_bytes()
    for damaged in (whole[:600], whole[:4000], b"\x00\x01\x02\x03 something else"):
        (state / "passwords.dbm").write_bytes(damaged)
        with pytest.raises(older_look.Unreadable):
            older_look.passwords(str(state / "passwords.dbm"))
        assert older.main(["passwords", str(state), "passwords.dbm"]) == 1
        assert not here.passwords.exists()


def test_passwords_are_taken_over_and_newer_ones_stay(state, here):
    fill(dbm.dumb, state / "passwords.dbm")
    Passwords(here.passwords).set("alice", b"newer")
    for _ in range(2):
        assert older.main(["passwords", str(state), "passwords.dbm"]) == 0
        store = Passwords(here.passwords)
        assert {name: store.get(name) for name in store.names()} == {**DIGESTS, "alice": b"newer"}
    assert [each.name for each in here.state.iterdir() if each.name.startswith("passwords")] == ["passwords.sqlite"]


def test_another_python_reads_what_this_one_cannot(state, here, monkeypatch, capsys):
    fill(dbm.dumb, state / "passwords.dbm")

    def cannot(path):
        raise older_look.Unreadable("of a kind that is not known here")

    monkeypatch.setattr(older_look, "passwords", cannot)
    arguments = ["passwords", str(state), "passwords.dbm"]
    assert older.main([*arguments, "/nowhere/python"]) == 1
    assert not here.passwords.exists()
    assert older.main([*arguments, "/nowhere/python", sys.executable]) == 0
    out = capsys.readouterr().out
    assert json.loads(out) == {"passwords": 3}
    assert Passwords(here.passwords).get("bob@example.org") == DIGESTS["bob@example.org"]


def test_an_old_python_understands_what_it_is_given():
    ast.parse(Path(older_look.__file__).read_text(), feature_version=(3, 6))
    used = {"base64", "json", "os", "sqlite3", "struct", "sys", "contextlib", "pathlib"}
    for node in ast.walk(ast.parse(Path(older_look.__file__).read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert {getattr(node, "module", None) or alias.name for alias in node.names} <= used


def test_digests_are_told_only_to_those_who_ask(state):
    fill(dbm.dumb, state / "passwords.dbm")
    looked = subprocess.run([sys.executable, "-I", older_look.__file__, str(state)], check=True, capture_output=True, text=True)
    assert "$2b$" not in looked.stdout and "digests" not in looked.stdout


@pytest.fixture
def kept(state):
    """The database of a JupyterHub 5 with a server that runs."""
    path = state / "jupyterhub.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript((DATA / "jupyterhub-5.sql").read_text())
        user = db.execute("SELECT id FROM users ORDER BY id").fetchone()[0]
        db.execute("DELETE FROM spawners")
        db.execute("INSERT INTO servers (id, proto, ip, port, base_url) VALUES (77, 'http', '127.0.0.1', 4321, '/user/x/')")
        db.execute("INSERT INTO spawners (id, user_id, server_id, state, name) VALUES (5, ?, 77, '{\"unit\": 1}', '')", (user,))
        db.execute("INSERT INTO api_tokens (user_id, hashed, prefix, note) VALUES (?, 'x', 'y', 'Server at /user/x/')", (user,))
    return path


def test_the_database_gets_the_new_format_and_no_server_runs(kept, here):
    before = kept.read_bytes()
    for _ in range(2):
        assert older.main(["database", str(kept), str(here.database)]) == 0
        assert kept.read_bytes() == before
        assert database.revision(here.database) == database.newest()
        looked = older_look.database(str(here.database))
        assert looked["servers"] == []
        assert looked["users"] == older_look.database(str(kept))["users"] != []
        with closing(sqlite3.connect(here.database)) as db:
            assert db.execute("SELECT count(*) FROM servers WHERE id = 77").fetchone() == (0,)
            assert db.execute("SELECT server_id, state FROM spawners").fetchall() == [(None, "{}")]
            assert db.execute("SELECT count(*) FROM api_tokens WHERE note LIKE 'Server at %'").fetchone() == (0,)


def test_all_is_taken_in_one_go_when_it_is_time(kept, here, state, tmp_path):
    """The process is ready before the older hub is stopped, and takes what is there when it has been."""
    fill(dbm.sqlite3, state / "passwords.dbm")
    database.copy(kept, here.database)
    copy, ready = tmp_path / "copy.sqlite", tmp_path / "ready"
    arguments = ["take", str(state), "passwords.dbm", str(here.database), str(copy), str(ready), sys.executable]
    process = subprocess.Popen([sys.executable, "-m", "tljh.older", *arguments], stdin=subprocess.PIPE, env=ENVIRONMENT | {"TLJH_ROOT": str(here.root)})
    while not ready.exists():
        assert process.poll() is None
        time.sleep(0.01)
    assert database.revision(here.database) == database.revision(kept)
    assert not copy.exists() and not here.passwords.exists()
    fill_one(state / "passwords.dbm", "dora")
    process.communicate(b"\n", timeout=60)
    assert process.returncode == 0
    assert older_look.database(str(copy)) == older_look.database(str(kept))
    assert database.revision(here.database) == database.newest()
    assert older_look.database(str(here.database))["servers"] == []
    assert set(Passwords(here.passwords).names()) == {*DIGESTS, "dora"}


def test_nothing_is_taken_when_nobody_says_that_it_is_time(kept, here, state, tmp_path):
    fill(dbm.sqlite3, state / "passwords.dbm")
    database.copy(kept, here.database)
    copy, ready = tmp_path / "copy.sqlite", tmp_path / "ready"
    arguments = ["take", str(state), "passwords.dbm", str(here.database), str(copy), str(ready)]
    subprocess.run([sys.executable, "-m", "tljh.older", *arguments], input=b"", check=True, env=ENVIRONMENT | {"TLJH_ROOT": str(here.root)})
    assert ready.exists() and not copy.exists() and not here.passwords.exists()
    assert database.revision(here.database) == database.revision(kept)


def test_what_cannot_be_taken_is_told_before_it_is_time(here, state, tmp_path):
    (state / "passwords.dbm").write_bytes(b"\x00\x01\x02\x03 something else")
    ready = tmp_path / "ready"
    assert older.main(["take", str(state), "passwords.dbm", str(here.database), str(tmp_path / "copy"), str(ready)]) == 1
    assert not ready.exists()


def test_what_the_hub_believes_is_told(kept):
    looked = older_look.database(str(kept))
    assert len(looked["servers"]) == 1 and looked["revision"]
    assert older_look.database("/nowhere") == {"users": [], "admins": [], "servers": [], "groups": [], "revision": ""}


def test_accounts_are_claimed_one_by_one(kept, here, monkeypatch):
    older.take_database(kept, here.database)
    here.config.write_text("users:\n  admin: [alice]\n")
    claimed = []

    def claim(name):
        claimed.append(name)
        raise accounts.AccountError("somebody else's")

    monkeypatch.setattr(accounts, "claim", claim)
    assert older.main(["accounts"]) == 0
    assert claimed == sorted(older_look.database(str(kept))["users"])
