"""A damaged database is replaced by its newest copy."""

import json
import os
import sqlite3
import time
from contextlib import closing

import pytest

from tljh import copies, database, passwords


def make(path, *users):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.executemany("INSERT INTO users VALUES (?)", [(name,) for name in users])
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (database.newest(),))


def users(path):
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM users ORDER BY name")]


@pytest.fixture
def live(tmp_path):
    path = tmp_path / "jupyterhub.sqlite"
    make(path, "alice", "bob")
    return path


def damage(live, how):
    if how == "gone":
        live.unlink()
    elif how == "emptied":
        live.write_bytes(b"")
    elif how == "no database":
        live.write_bytes(b"x" * 4096)
    elif how == "cut off":
        with closing(sqlite3.connect(live)) as connection, connection:
            connection.execute("CREATE TABLE filler AS SELECT zeroblob(100000) AS blob")
        os.truncate(live, 20000)
    elif how == "another one":
        live.unlink()
        with closing(sqlite3.connect(live)) as connection, connection:
            connection.execute("CREATE TABLE other (x)")


@pytest.mark.parametrize("how", ["gone", "emptied", "no database", "cut off", "another one"])
def test_the_newest_copy_takes_the_place_of_a_damaged_database(live, tmp_path, how):
    copies.make(tmp_path, live, time.time())
    damage(live, how)
    copies.mend(tmp_path, live)
    assert users(live) == ["alice", "bob"]
    told = json.loads((tmp_path / "database.json").read_text())
    assert told["why"] and told["copy"]
    assert bool(told["aside"]) == (how != "gone")
    assert (live.stat().st_mode & 0o777, (tmp_path / "copies").stat().st_mode & 0o777) == (0o600, 0o700)
    if told["aside"]:
        assert os.path.exists(told["aside"])


def test_without_a_copy_it_begins_empty_and_the_damaged_one_is_kept(live, tmp_path, caplog):
    damage(live, "no database")
    copies.mend(tmp_path, live)
    assert not live.exists()
    assert len(list(tmp_path.glob("jupyterhub.sqlite.damaged-*"))) == 1
    assert json.loads((tmp_path / "database.json").read_text())["copy"] == 0
    assert "THE DATABASE WAS DAMAGED (file is not a database): there is no copy" in caplog.text


def test_a_sound_database_and_a_machine_without_one_are_left_alone(live, tmp_path):
    before = live.read_bytes()
    copies.mend(tmp_path, live)
    assert live.read_bytes() == before
    live.unlink()
    copies.mend(tmp_path, live)
    assert os.listdir(tmp_path) == []


def test_a_copy_that_this_release_cannot_open_or_that_is_damaged_is_passed_over(live, tmp_path):
    now = time.time()
    for age, users_then in ((3, "old"), (2, "newer format"), (1, "damaged")):
        live.unlink()
        make(live, users_then)
        copies.make(tmp_path, live, now - age * copies.DAY)
    newest, second = copies.kept(tmp_path)[:2]
    newest.write_bytes(b"x" * 4096)
    os.utime(newest, (now,) * 2)
    with closing(sqlite3.connect(second)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'of a later release'")
    damage(live, "no database")
    copies.mend(tmp_path, live)
    assert users(live) == ["old"]


def test_one_copy_a_day_and_three_at_most(live, tmp_path):
    now = time.time()
    for day in range(6):
        for _ in range(2):
            copies.make(tmp_path, live, now + day * (copies.DAY + 60))
    assert [path.name for path in copies.kept(tmp_path)] == [f"jupyterhub-{int(now + day * (copies.DAY + 60))}.sqlite" for day in (5, 4, 3)]
    assert copies.due(tmp_path, now), "the clock was set back"
    copies.make(tmp_path, live, now)
    assert f"jupyterhub-{int(now)}.sqlite" in [path.name for path in copies.kept(tmp_path)]
    assert len(copies.kept(tmp_path)) == 3


def test_a_damaged_database_takes_no_good_copys_place(live, tmp_path):
    copies.make(tmp_path, live, time.time() - 2 * copies.DAY)
    damage(live, "another one")
    copies.make(tmp_path, live, time.time())
    assert len(copies.kept(tmp_path)) == 1
    assert users(copies.kept(tmp_path)[0]) == ["alice", "bob"]


@pytest.mark.parametrize("how", ["gone", "emptied", "no database", "another one"])
def test_passwords_come_back_from_their_copy_while_the_hub_runs(tmp_path, how):
    path = tmp_path / "passwords.sqlite"
    store = passwords.Passwords(path)
    store.set("bob", b"digest")
    copies.make(tmp_path, path, time.time(), copies.PASSWORDS)
    damage(path, how)
    if how == "another one":  # that is found when the hub starts
        copies.mend(tmp_path, path, copies.PASSWORDS)
    assert store.get("bob") == b"digest"
    told = json.loads((tmp_path / "passwords.json").read_text())
    assert told["why"] and told["copy"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_passwords_without_a_copy_do_not_begin_empty(tmp_path):
    path = tmp_path / "passwords.sqlite"
    path.write_bytes(b"x" * 4096)
    with pytest.raises(sqlite3.DatabaseError):
        passwords.Passwords(path).get("bob")
    assert path.read_bytes() == b"x" * 4096


def test_passwords_are_copied_each_hour_and_kept_for_days(tmp_path):
    path = tmp_path / "passwords.sqlite"
    store = passwords.Passwords(path)
    copies.make(tmp_path, path, time.time(), copies.PASSWORDS)
    store.names()
    copies.make(tmp_path, path, time.time(), copies.PASSWORDS)
    assert copies.kept(tmp_path, copies.PASSWORDS) == [], "there are none yet"
    store.set("bob", b"digest")
    noon = (time.time() // copies.DAY) * copies.DAY + copies.DAY / 2
    for day in range(5):
        for hour in range(3):
            copies.make(tmp_path, path, noon + day * copies.DAY + hour * copies.LOOK, copies.PASSWORDS)
    wanted = [f"passwords-{int(noon + day * copies.DAY + 2 * copies.LOOK)}.sqlite" for day in (4, 3, 2)]
    assert [copy.name for copy in copies.kept(tmp_path, copies.PASSWORDS)] == wanted
    assert copies.kept(tmp_path) == []
