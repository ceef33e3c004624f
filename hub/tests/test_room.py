import os
import sqlite3
from types import SimpleNamespace

import pytest

from tljh import room

MIB = 1 << 20


@pytest.fixture
def disk(monkeypatch):
    """A disk with as much left as a test says."""
    free = {"MiB": 1000}
    monkeypatch.setattr(room.os, "statvfs", lambda path: SimpleNamespace(f_bfree=free["MiB"] * MIB, f_frsize=1))
    monkeypatch.setattr(room, "RESERVE", MIB)
    return free


def test_the_reserve_is_given_up_and_made_anew(disk, tmp_path, caplog):
    kept = room.Room(tmp_path)
    kept.look()
    assert kept.reserve.stat().st_size == MIB
    disk["MiB"] = 3
    kept.look()
    kept.look()
    assert not kept.reserve.exists()
    assert kept.told.exists()
    assert caplog.text.count("THE DISK IS FULL: 3 MiB are left") == 1
    disk["MiB"] = 20  # not enough for it to be of use
    kept.look()
    assert not kept.reserve.exists()
    disk["MiB"] = 1000
    kept.look()
    assert kept.reserve.exists()
    assert not kept.told.exists()


def test_a_database_that_finds_no_room_takes_it(disk, tmp_path):
    kept = room.Room(tmp_path)
    kept.look()
    kept._failed(SimpleNamespace(original_exception=sqlite3.OperationalError("no such table: x")))
    assert kept.reserve.exists()
    kept._failed(SimpleNamespace(original_exception=sqlite3.OperationalError("database or disk is full")))
    assert not kept.reserve.exists()


def test_a_database_has_room_inside(tmp_path):
    database = tmp_path / "hub.sqlite"
    room.prepare(database)
    assert not database.exists()
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.execute("INSERT INTO users VALUES ('bob')")
    connection.close()
    for _ in range(3):
        room.prepare(database)
    size, journal = database.stat().st_size, tmp_path / "hub.sqlite-journal"
    assert room.PAGES <= size < room.PAGES + MIB
    assert journal.stat().st_size == room.JOURNAL
    with sqlite3.connect(database) as connection:
        room.keep_journal(connection)
        connection.executemany("INSERT INTO users VALUES (?)", [("x" * 1000,)] * 4000)
    with sqlite3.connect(database) as connection:
        room.keep_journal(connection)
        connection.execute("UPDATE users SET name = 'y'")
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (4001,)
        assert [name for (name,) in connection.execute("SELECT name FROM sqlite_master")] == ["users"]
    connection.close()
    assert (database.stat().st_size, journal.stat().st_size >= room.JOURNAL) == (size, True)
    assert not os.path.exists(tmp_path / "hub.sqlite-wal")
