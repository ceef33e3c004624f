"""What public reports of single-user servers are about (integration-tests/field/reports.md), with a real Jupyter server."""

import asyncio
import importlib.util
import json
import os
import re
import runpy
import sqlite3
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


def test_an_app_that_does_not_run_has_words():
    from tornado import web

    apps = load("own_apps")

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
