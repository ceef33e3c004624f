"""What public reports of single-user servers are about (integration-tests/field/reports.md), with a real Jupyter server."""

import asyncio
import importlib.util
import json
import os
import re
import runpy
import sqlite3
import struct
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from jupyter import python, serving
from tornado.httputil import HTTPHeaders

from tljh.spawner import START

ALWAYS = START.parent / "always"


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(prefix="j", dir="/tmp") as folder:
        yield Path(folder)


def load(name):
    spec = importlib.util.spec_from_file_location(name, ALWAYS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def words_of(page):
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_words_of_a_real_server(place, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    cells = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# Heading"}]
    (home / "n.ipynb").write_text(json.dumps(NOTEBOOK | {"cells": cells}))
    with serving(home, place, PATH=os.path.dirname(python())) as server:
        status, answer = server.api("POST", "contents/nosuch.ipynb/checkpoints")
        assert status == 500
        assert answer and "nosuch.ipynb" in answer["message"] and answer["message"].endswith("."), "an error that nobody expected is not an empty answer"
        page = words_of(server.stream("/nbconvert/latex/n.ipynb", 60))
        assert "sudo apt install pandoc" in page and "export as HTML" in page, page
        assert "print that page to a file" in words_of(server.stream("/nbconvert/webpdf/n.ipynb", 60))
        assert "<html" in server.stream("/nbconvert/html/n.ipynb", 60)


def test_a_notebook_opens_while_its_signatures_are_locked(place, tmp_path):
    """On a file server without locks they always are."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "n.ipynb").write_text(json.dumps(NOTEBOOK))
    with serving(home, place) as server:
        assert server.api("GET", "contents/n.ipynb")[0] == 200
        (file,) = home.rglob("nbsignatures.db")
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        for _ in range(2):
            assert server.api("GET", "contents/n.ipynb")[0] == 200
            assert server.api("PUT", "contents/n.ipynb", {"type": "notebook", "format": "json", "content": NOTEBOOK})[0] == 200
        holder.close()
        assert "until the server is restarted they are kept in memory" in server.words()


def rights(*entries):
    """An access control list as the kernel has it: tag, permissions and ID of each entry."""
    return (2).to_bytes(4, "little") + b"".join(tag.to_bytes(2, "little") + may.to_bytes(2, "little") + who.to_bytes(4, "little") for tag, may, who in entries)


NOBODY = 0xFFFFFFFF
SHARED = rights((0x01, 7, NOBODY), (0x04, 0, NOBODY), (0x08, 7, 65534), (0x10, 7, NOBODY), (0x20, 0, NOBODY))


def test_what_is_moved_into_a_shared_folder_is_shared(place, tmp_path):
    home = tmp_path / "home"
    shared = home / "course"
    shared.mkdir(parents=True)
    try:
        os.setxattr(shared, "system.posix_acl_default", SHARED)
    except OSError:
        pytest.skip("this file system has no access control lists")
    (home / "one.txt").write_text("1")
    (home / "one.txt").chmod(0o600)
    (home / "run.sh").write_text("#!/bin/sh\n")
    (home / "run.sh").chmod(0o700)
    (home / "work/deep").mkdir(parents=True)
    (home / "work/deep/two.txt").write_text("2")
    (home / "outside").write_text("x")
    (home / "outside").chmod(0o600)
    (home / "work/link").symlink_to(home / "outside")
    with serving(home, place) as server:
        for name in ("one.txt", "run.sh", "work"):
            status, answer = server.api("PATCH", f"contents/{name}", {"path": f"course/{name}"})
            assert status == 200, answer
        assert server.api("PUT", "contents/made.txt", {"type": "file", "format": "text", "content": "x"})[0] == 201
        before = (home / "made.txt").stat().st_mode
        assert server.api("PATCH", "contents/made.txt", {"path": "renamed.txt"})[0] == 200
        assert (home / "renamed.txt").stat().st_mode == before, "a folder like any other"

    def group(path):
        """What the group of the folder may do."""
        found = os.getxattr(path, "system.posix_acl_access")
        entries = {int.from_bytes(found[at : at + 2], "little"): int.from_bytes(found[at + 2 : at + 4], "little") for at in range(4, len(found), 8)}
        return entries[0x08] & entries[0x10]

    assert {name: group(shared / name) for name in ("one.txt", "run.sh", "work", "work/deep", "work/deep/two.txt")} == {
        "one.txt": 6,
        "run.sh": 7,
        "work": 7,
        "work/deep": 7,
        "work/deep/two.txt": 6,
    }
    assert os.getxattr(shared / "work/deep", "system.posix_acl_default") == SHARED
    assert (home / "outside").stat().st_mode & 0o777 == 0o600, "nothing is done behind a link"


def test_a_link_brings_names_of_all_kinds(place, tmp_path):
    """A file of the student's in the place of a new one of the author's is set aside, whatever its name is, and one that was deleted comes back."""
    source = tmp_path / "source"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(source)]
    subprocess.run(["git", "init", "-q", "-b", "main", source], check=True)

    def save(*names):
        for name in names:
            (source / name).parent.mkdir(exist_ok=True)
            (source / name).write_text("author's\n" * 20)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-qm", "x"], check=True)

    odd = os.fsdecode(b"odd-\xff.txt")
    save("Übung 1/aufgabe ä.ipynb", "unicode🙂.txt", "old.txt", odd)
    with serving(tmp_path, place) as server:

        def follow():
            said = server.stream(f"/git-pull/api?repo=file://{source}&branch=main&targetpath=course")
            assert '"phase": "finished"' in said, said[-2000:]

        follow()
        course = tmp_path / "course"
        for name in ("unicode🙂.txt", odd):
            (course / name).unlink()
        follow()
        assert (course / "unicode🙂.txt").exists() and (course / odd).exists()
        for name in ("neu ß.txt", "new.txt", "renamed.txt"):
            (course / name).write_text("mine\n")
        (source / "old.txt").rename(source / "renamed.txt")
        save("neu ß.txt", "new.txt")
        follow()
        for name in ("neu ß", "new", "renamed"):
            assert (course / f"{name}.txt").read_text().startswith("author's"), name
            (kept,) = course.glob(f"{name}__*.txt")
            assert kept.read_text() == "mine\n"


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        ("jupyterhub-user-bob=s; _xsrf=x; jupyterhub-session-id=y; theme=dark", "_xsrf=x; theme=dark"),
        ("__Host-jupyterhub-user-bob=s", ""),
        ("a=jupyterhub-user-bob", "a=jupyterhub-user-bob"),
        ("", ""),
    ],
)
def test_an_app_behind_a_port_gets_no_session(sent, passed):
    assert load("own_apps").without_session(sent) == passed


@pytest.mark.parametrize(
    ("by_token", "sent", "passed"),
    [
        (False, "Bearer of-the-app", "Bearer of-the-app"),
        (True, "Bearer of-the-hub", None),
        (False, "token of-the-hub", None),
        (False, "Basic eDp5", "Basic eDp5"),
    ],
)
def test_an_app_behind_a_port_gets_no_token_of_the_hub(by_token, sent, passed):
    provider = SimpleNamespace(is_token_authenticated=lambda handler: by_token)
    headers = HTTPHeaders({"Authorization": sent, "Cookie": "jupyterhub-user-bob=s", "Accept": "x"})
    got = load("own_apps").strip(SimpleNamespace(identity_provider=provider), headers)
    assert (got.get("Authorization"), got.get("Cookie"), got["Accept"]) == (passed, None, "x")


def acl_of(path):
    try:
        return os.getxattr(path, "system.posix_acl_access")
    except OSError:
        return None


def test_what_is_moved_into_a_shared_folder_gives_away_nothing_else(monkeypatch):
    """Whoever may write there puts a link to a folder of the user's into the place of one that was moved."""
    files = load("own_files")
    # Version 2; the owner may write, group 40002 may write, a mask, nobody else.
    entries = [(0x01, 7, 2**32 - 1), (0x04, 0, 2**32 - 1), (0x08, 7, 40002), (0x10, 7, 2**32 - 1), (0x20, 0, 2**32 - 1)]
    rights = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as top:
        home, shared = Path(top, "home"), Path(top, "shared")
        for folder in (home / "private", shared / "moved/a", shared / "moved/b"):
            folder.mkdir(parents=True)
            (folder / "file").write_text("x")
        try:
            os.setxattr(shared, files.DEFAULT, rights)
        except OSError as error:
            pytest.skip(f"no access control lists here: {error}")
        setxattr = os.setxattr

        def setxattr_and_swap(path, *arguments, **options):
            setxattr(path, *arguments, **options)
            first, second = ("a", "b") if acl_of(shared / "moved/a/file") else ("b", "a")
            place = shared / "moved" / second
            if acl_of(shared / "moved" / first / "file") and not place.is_symlink():
                place.rename(shared / "aside")
                place.symlink_to(home / "private")

        for attack in (False, True):
            monkeypatch.setattr(os, "setxattr", setxattr_and_swap if attack else setxattr)
            if attack:
                for path in (shared / "moved", *(shared / "moved").rglob("*")):
                    os.removexattr(path, "system.posix_acl_access")
            files.give_rights_of_folder(str(shared / "moved"))
            if not attack:
                assert acl_of(shared / "moved/a/file") and acl_of(shared / "moved/b")
        assert [path.is_symlink() for path in (shared / "moved").iterdir()].count(True) == 1, "nothing was swapped"
        assert not acl_of(home / "private/file")
        assert not acl_of(home / "private")


def table(tmp_path, rows):
    """A table of sockets as /proc/net has it: (address, port, state, account)."""
    lines = [f"   {n}: {address}:{port:04X} 00000000:0000 {state} 0:0 00:0 0 {uid} 0 1 1" for n, (address, port, state, uid) in enumerate(rows)]
    path = tmp_path / "tcp"
    path.write_text("\n".join(["  sl  local_address ...", *lines, ""]))
    return [str(path), str(tmp_path / "none")]


MAPPED = "0000000000000000FFFF0000"


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("0100007F", {1001}),
        ("0200007F", {1001}),
        ("00000000", {1001}),
        ("0100000A", set()),
        ("0" * 32, {1001}),
        ("0" * 24 + "01000000", {1001}),
        (MAPPED + "0100007F", {1001}),
        (MAPPED + "00000000", {1001}),
        (MAPPED + "0100000A", set()),
        ("000080FE000000000000000001000000", set()),
    ],
)
def test_whose_program_listens(tmp_path, address, found):
    listeners = load("own_apps").listeners
    assert listeners(8501, table(tmp_path, [(address, 8501, "0A", 1001)])) == found
    assert listeners(8501, table(tmp_path, [(address, 8501, "01", 1001), (address, 8502, "0A", 1001)])) == set()


def test_the_program_of_another_student_is_not_shown(monkeypatch):
    """Whoever follows a link to a port of their own server would run that page with all that they may do."""
    from tornado import web

    apps, me = load("own_apps"), os.getuid()
    shown = []

    class Handler:
        unix_socket = None

        def proxy_request_headers(self):
            return HTTPHeaders()

        async def proxy(self, host, port, path):
            shown.append(port)

        async def proxy_open(self, host, port, path=""):
            shown.append(port)

    apps.install(Handler)
    handler = Handler()
    monkeypatch.setattr(apps, "admins", lambda: {1500})
    for host in ("localhost", "127.0.0.1", "127.1.2.3", "[::1]"):
        for owners, status in (({me}, 0), ({0}, 0), ({997}, 0), ({61999}, 0), ({1500}, 0), ({1001}, 403), ({me, 1001}, 403), ({70001}, 403), (set(), 503)):
            monkeypatch.setattr(apps, "listeners", lambda port, owners=owners: owners)
            for way in (handler.proxy, handler.proxy_open):
                shown.clear()
                if not status:
                    asyncio.run(way(host, "8501", "/"))
                    assert shown == ["8501"], owners
                    continue
                with pytest.raises(web.HTTPError) as found:
                    asyncio.run(way(host, "8501", "/"))
                assert (found.value.status_code, shown) == (status, []), owners
    handler.unix_socket = "/tmp/app.sock"
    asyncio.run(handler.proxy("localhost", "0", "/"))
    assert shown


def test_an_app_that_does_not_run_has_words(monkeypatch):
    from tornado import web

    apps = load("own_apps")
    monkeypatch.setattr(apps, "listeners", lambda port: {os.getuid()})

    class Handler:
        def proxy_request_headers(self):
            return HTTPHeaders()

        async def proxy(self, host, port, path):
            raise self.error

    apps.install(Handler)
    handler = Handler()
    for error in (ConnectionRefusedError(111, "refused"), web.HTTPError(500, "[Errno 111] Connection refused"), FileNotFoundError(2, "no socket")):
        handler.error = error
        with pytest.raises(web.HTTPError) as found:
            asyncio.run(handler.proxy("localhost", 8501, "/"))
        assert found.value.status_code == 503
        assert "No program answers on port 8501" in str(found.value)
    handler.error = web.HTTPError(403, "Host is not allowed")
    with pytest.raises(web.HTTPError) as found:
        asyncio.run(handler.proxy("localhost", 8501, "/"))
    assert found.value.status_code == 403


def test_a_command_in_a_terminal_is_use():
    now = {}
    watch = runpy.run_path(str(ALWAYS / "jupyter_server_config.py"))["Terminals"](lambda: [(s, p, t) for p, (s, t) in now.items()])
    now.update({10: (10, 5), 11: (10, 0), 99: (99, 50)})
    assert not watch.worked([10]), "an editor that waits"
    now[11] = (10, 1)
    assert watch.worked([10])
    assert not watch.worked([10])
    now.update({10: (10, 50), 99: (99, 99)})
    assert not watch.worked([10]), "the shell itself, and other sessions"
    now[12] = (10, 2)
    assert watch.worked([10]), "a new command that has worked"
    assert not watch.worked([])


def test_processor_times_are_read():
    times = list(runpy.run_path(str(ALWAYS / "jupyter_server_config.py"))["processor_times"]())
    assert (os.getsid(0), os.getpid()) in {(session, process) for session, process, _ in times}
