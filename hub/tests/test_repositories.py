"""What others wrote into a folder, as the author of a repository that a link brings. With a real Jupyter server."""

import asyncio
import json
import runpy
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from jupyter import serving

from tljh.spawner import START

LINKS = str(START.parent / "always" / "jupyter_server_config.py")


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(prefix="j", dir="/tmp") as folder:
        yield Path(folder)


# Modules that IPython imports before a cell runs: its extension, those of start files, and those of completion.
IMPORTED = ["storemagic", "autoreload", "named_by_start", "jedi", "parso", "colorama", "numpydoc"]


def test_a_kernel_imports_nothing_from_the_folder_before_a_cell_runs(place, tmp_path):
    start = tmp_path / ".ipython/profile_default/startup/start.py"
    start.parent.mkdir(parents=True)
    start.write_text("try:\n    import named_by_start\nexcept ImportError:\n    pass\n")
    (start.parent.parent / "ipython_kernel_config.py").write_text("c.InteractiveShellApp.extensions = ['autoreload']\n")
    course = tmp_path / "course"
    course.mkdir()
    ran = tmp_path / "ran"
    for name in IMPORTED:
        (course / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write({name!r})\n")
    (course / "helper.py").write_text("answer = 42\n")
    (course / "x.ipynb").write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    with serving(tmp_path, place) as server:
        status, session = server.api("POST", "sessions", {"path": "course/x.ipynb", "type": "notebook", "name": "x", "kernel": {"name": "python3"}})
        assert status == 201, session
        kernel = session["kernel"]["id"]
        server.complete(kernel, "imp")
        assert not ran.exists(), ran.read_text()
        assert server.ask(kernel, "__import__('helper').answer") == "42", "a notebook imports what lies beside it"
        assert server.ask(kernel, "__import__('sys').path.count('')") == "1"


@pytest.fixture
def silent():
    """The address of a git server that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"git://127.0.0.1:{server.getsockname()[1]}/course"


def test_a_git_server_that_never_answers_holds_up_nothing(place, tmp_path, silent):
    with serving(tmp_path, place) as server:
        following = threading.Thread(target=server.stream, args=[f"/git-pull/api?repo={silent}&targetpath=course"])
        following.start()
        time.sleep(3)
        begun = time.monotonic()
        assert server.api("GET", "status", timeout=20)[0] == 200
        assert time.monotonic() - begun < 15
        following.join(60)
        assert not following.is_alive()
        assert "did not answer for 30 seconds" in server.words()


def test_a_link_is_asked_for_in_time(silent):
    begun = time.monotonic()
    with pytest.raises(ValueError, match="did not answer for 1 seconds"):
        asyncio.run(runpy.run_path(LINKS)["ask"](silent, 1))
    assert time.monotonic() - begun < 10


def test_a_link_still_brings_its_repository(place, tmp_path):
    source = tmp_path / "source"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(source)]
    subprocess.run(["git", "init", "-q", "-b", "lessons", source], check=True)
    (source / "x.txt").write_text("x")
    for command in (["add", "x.txt"], ["commit", "-qm", "x"], ["tag", "v1"]):
        subprocess.run([*git, *command], check=True)
    with serving(tmp_path, place) as server:
        for link in ("targetpath=default", "branch=lessons&targetpath=branch", "branch=v1&targetpath=tag", "branch=lessons&targetpath=branch"):
            said = server.stream(f"/git-pull/api?repo=file://{source}&{link}")
            assert '"phase": "finished"' in said, said
            assert (tmp_path / link.rpartition("=")[2] / "x.txt").exists()
        assert "BranchExistError" in server.stream(f"/git-pull/api?repo=file://{source}&branch=none&targetpath=none") + server.words()


def test_a_transfer_ends_in_time():
    module = runpy.run_path(LINKS)
    limited = type("Short", (module["Limited"],), {"limit": 1})
    process = limited(["sh", "-c", "sleep 60 & wait"], stdout=subprocess.PIPE)
    begun = time.monotonic()
    assert process.stdout.read() == b"", "what it started is ended as well"
    with pytest.raises(ValueError, match="was not fetched within"):
        process.wait()
    assert time.monotonic() - begun < 10


def test_settings_and_workspaces_of_a_user_do_not_act_on_visitors(place, tmp_path):
    """A token that nobody has is a visitor's."""
    lab = tmp_path / ".jupyter/lab"
    settings = lab / "user-settings/@jupyterlab/htmlviewer-extension/plugin.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"trustByDefault": true}')
    workspace = {"data": {"htmlviewer:evil": {}}, "metadata": {"id": "default"}}
    (lab / "workspaces").mkdir()
    (lab / "workspaces/default-37a8.jupyterlab-workspace").write_text(json.dumps(workspace))
    config = tmp_path / ".jupyter/nbconfig/notebook.json"
    config.parent.mkdir()
    config.write_text('{"load_extensions": {"../../files/evil": true}}')
    kept = {path: path.read_text() for path in (tmp_path / ".jupyter").rglob("*") if path.is_file()}
    with serving(tmp_path, place, JUPYTERHUB_USER="bob") as server:
        assert "evil" not in server.stream("/api/config/notebook")
        server.send("PUT", "/api/config/notebook", {"x": 1}, 204)
        server.send("PATCH", "/api/config/notebook", {"x": 1}, 200)
        assert server.lab("settings/@jupyterlab/htmlviewer-extension:plugin")["raw"] == "{}"
        assert "trustByDefault" not in server.stream("/lab/api/settings").replace('"trustByDefault": {', "")
        assert "evil" not in server.stream("/lab/api/workspaces") + server.stream("/lab/api/workspaces/default")
        server.send("PUT", "/lab/api/settings/@jupyterlab/htmlviewer-extension:plugin", {"raw": "{}"}, 204)
        server.send("PUT", "/lab/api/workspaces/default", workspace | {"data": {}}, 204)
        server.send("DELETE", "/lab/api/workspaces/default", None, 204)
    assert kept == {path: path.read_text() for path in (tmp_path / ".jupyter").rglob("*") if path.is_file()}


@pytest.mark.parametrize(("name", "shown"), [("bob", "own"), ("alice", "none"), (None, "own")])
def test_a_user_has_settings_and_workspaces(monkeypatch, name, shown):
    """Who is not logged in is refused by what is called."""
    monkeypatch.setenv("JUPYTERHUB_USER", "bob")

    class Handler:
        current_user = name and SimpleNamespace(username=name)
        settings_dir = "own"

        def get(self):
            return self.settings_dir

    runpy.run_path(LINKS)["for_the_owner"](Handler)
    assert Handler().get() == {"own": "own", "none": "/nonexistent"}[shown]
