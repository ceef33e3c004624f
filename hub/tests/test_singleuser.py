"""The start of a server that runs trusted code only. What Jupyter does with it, the tests in guests show."""

import ast
import asyncio
import errno
import inspect
import json
import os
import runpy
import subprocess
import sys
from types import SimpleNamespace

import pytest
from jupyterhub.services.auth import HubAuth, _ExpiringDict

from tljh.spawner import START

LINKS = START.parent / "always" / "jupyter_server_config.py"

LOOK = """
import ctypes, json, subprocess, sys
def look():
    fields = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return {"dumpable": ctypes.CDLL(None).prctl(3), "permitted": int(fields["CapPrm"], 16), "arguments": sys.argv[1:], "path": sys.path[0]}
if sys.argv[-1] == "child":
    print(json.dumps(look()))
else:
    child = subprocess.run([sys.executable, __file__, "child"], capture_output=True, text=True)
    print(json.dumps([look(), json.loads(child.stdout)]))
"""


def test_the_process_is_closed_and_what_it_starts_is_not(tmp_path):
    """Jupyter itself is not here: a stand-in has the three functions."""
    package = tmp_path / "packages/jupyter_core"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "application.py").write_text("class JupyterApp: pass\n")
    (package / "paths.py").write_text("def jupyter_path(*s): return ['/a']\ndef jupyter_config_path(): return ['/a']\ndef jupyter_config_dir(): return '/a'\n")
    program = tmp_path / "look.py"
    program.write_text(LOOK)
    done = subprocess.run(
        [sys.executable, "-s", START, program, "--x"],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path / "packages"), "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    server, child = json.loads(done.stdout)
    assert (server["dumpable"], server["permitted"], server["arguments"]) == (0, 0, ["--x"])
    assert str(START.parent) not in server["path"]
    assert child["dumpable"] == 1 or os.geteuid() == 0  # root gets its rights again


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("{home}/.jupyter", True),
        ("{home}", True),
        ("/etc/jupyter", False),
        ("{home}-of-another", False),
        ("/run/safe/config", True),
        ("{home}/../{name}/x", True),
        ("{link}/x", True),
        ("{home}/out", True),
    ],
)
def test_what_is_the_users_own(monkeypatch, tmp_path, path, own):
    home = tmp_path / "bob"
    home.mkdir()
    (home / "out").symlink_to("/etc")  # what a link in the home leads to is of the user's choice
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/safe")
    module = runpy.run_path(str(START))
    assert module["is_own"](path.format(home=home, name=home.name, link=tmp_path / "link")) is own


def test_jupyter_looks_where_the_user_cannot_write_and_for_kernels_everywhere(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    module = runpy.run_path(str(START))
    data, config = [f"{tmp_path}/.local/share/jupyter", "/usr/share/jupyter"], f"{tmp_path}/.jupyter"
    module["usual"].update(
        jupyter_path=lambda *parts: [os.path.join(folder, *parts) for folder in data],
        jupyter_config_path=lambda: [config, "/etc/jupyter"],
        jupyter_config_dir=lambda: config,
    )
    assert module["jupyter_path"]() == ["/usr/share/jupyter"]
    assert module["jupyter_path"]("labextensions") == ["/usr/share/jupyter/labextensions"]
    assert module["jupyter_path"]("kernels") == [f"{folder}/kernels" for folder in data]
    assert module["jupyter_config_path"]() == ["/etc/jupyter", str(START.parent), str(START.parent / "always")]
    assert module["jupyter_config_dir"]() == os.path.join(sys.prefix, "etc", "jupyter")


def test_defaults_of_jupyterlab_are_quiet():
    quiet = START.parent / "always"
    server = json.loads((quiet / "jupyter_server_config.json").read_text())
    assert server["LabApp"]["news_url"] is None
    shown = json.loads((quiet / "labconfig" / "default_setting_overrides.json").read_text())
    assert shown["@jupyterlab/apputils-extension:notification"] == {"fetchNews": "false", "checkForUpdates": False}


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("course", True),
        ("courses/2026/week 1", True),
        ("course/", True),
        ("a/../course", True),
        (".local/lib/python3.14/site-packages", False),
        ("course/../.ipython/profile_default/startup", False),
        ("course/.git/hooks", False),
        ("bin", False),
        ("bin/", False),
        ("course/bin", True),
        ("R/x86_64-pc-linux-gnu-library/4.5", False),
        ("R", False),
        ("R-course", True),
        ("node_modules/x", False),
        ("../jupyter-alice", False),
        ("/home/jupyter-alice/x", False),
        (".", False),
        ("", False),
    ],
)
def test_links_lead_to_plain_folders(path, plain):
    assert runpy.run_path(str(LINKS))["is_plain_folder"](path) is plain


@pytest.mark.parametrize(
    ("name", "stays"), [("tornado", False), ("statistics", False), ("sys", False), ("course", True), ("week 1", True), ("os.path", True), ("__main__", False)]
)
def test_what_a_link_brings_stands_in_for_no_module(tmp_path, name, stays):
    folder = tmp_path / name
    (folder / "sub").mkdir(parents=True)
    files = ["__init__.py", "__init__.cpython-314-x86_64-linux-gnu.so", "notes.ipynb", "sub/__init__.py"]
    for file in files:
        (folder / file).touch()
    runpy.run_path(str(LINKS))["make_no_module"](str(folder))
    left = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    assert left == sorted(files if stays else files[2:])


def test_links_follow_no_links_and_use_no_repository_within_another(tmp_path):
    refusal = runpy.run_path(str(LINKS))["refusal"]
    (tmp_path / "course/.git").mkdir(parents=True)
    (tmp_path / "course/buried/refs").mkdir(parents=True)
    (tmp_path / "course/empty").mkdir()
    (tmp_path / ".ipython").mkdir()
    (tmp_path / "course/startup").symlink_to("../.ipython")
    (tmp_path / "linked").symlink_to("course")
    (tmp_path / "file").touch()
    (tmp_path / "told/.git").parent.mkdir()
    (tmp_path / "told/.git").write_text("gitdir: ../course/buried")
    assert refusal(str(tmp_path / "course")) is None
    assert refusal(str(tmp_path / "new/folder")) is None
    for folder in ("course/buried", "course/empty", "file", "told"):
        assert "no repository of its own" in refusal(str(tmp_path / folder)), folder
    for folder in ("course/startup", "course/startup/profile_default", "linked", "linked/x"):
        assert "leads to another place" in refusal(str(tmp_path / folder)), folder


def test_links_that_lead_out_of_a_folder_are_cut(tmp_path):
    folder, outside = tmp_path / "course", tmp_path / ".ipython"
    (folder / "week").mkdir(parents=True)
    outside.mkdir()
    (folder / ".ipynb_checkpoints").symlink_to("../.ipython")
    (folder / "week/up").symlink_to("../..")
    (folder / "gone").symlink_to("/nonexistent")
    (folder / "week/data").symlink_to("../lesson.txt")
    (folder / "lesson.txt").touch()
    cut = runpy.run_path(str(LINKS))["cut_links"](str(folder))
    assert sorted(cut) == [".ipynb_checkpoints", "gone", "week/up"]
    assert (folder / "week/data").is_symlink()
    assert outside.is_dir()


def test_links_bring_nothing_that_a_kernel_runs_when_it_starts(tmp_path):
    kept = ["R/.Rprofile.md", "lesson.R", "week/lesson.ipynb", "week/octaverc"]
    for file in [*kept, ".Rprofile", "week/.RData", "week/deep/.octaverc", "week/startup.m"]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    dropped = runpy.run_path(str(LINKS))["drop_what_kernels_read"](str(tmp_path))
    assert dropped == [".Rprofile", "week/.RData", "week/deep/.octaverc", "week/startup.m"]
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()) == kept


@pytest.mark.parametrize("mark", ["pyvenv.cfg", "conda-meta"])
def test_links_fill_no_environment(tmp_path, mark):
    (tmp_path / "venv/lib").mkdir(parents=True)
    (tmp_path / "venv" / mark).touch()
    assert "environment" in runpy.run_path(str(LINKS))["refusal"](str(tmp_path / "venv/lib/site-packages/x"))


@pytest.mark.parametrize(
    ("repository", "fetched"),
    [
        ("https://git.test/x", True),
        ("git@git.test:x/y.git", True),
        ("file:///srv/x", True),
        ("ext::sh -c x", False),
        ("fd::17", False),
        ("--upload-pack=x", False),
        ("../x", False),
        ("", False),
    ],
)
def test_links_name_repositories_that_can_be_fetched(repository, fetched):
    assert bool(runpy.run_path(str(LINKS))["FETCHED"].match(repository)) is fetched


def test_a_kernel_is_not_looked_for_in_the_folder_of_a_notebook(tmp_path):
    module = runpy.run_path(str(LINKS))
    (tmp_path / "ipykernel_launcher.py").write_text("open('taken', 'w')")
    (tmp_path / "runpy.py").write_text("open('taken', 'w')")
    usual = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "x.json"]
    command = module["elsewhere"](usual)
    assert command == [sys.executable, "-Xfrozen_modules=off", "-c", module["START_KERNEL"], "ipykernel_launcher", "-f", "x.json"]
    subprocess.run(command, cwd=tmp_path, check=False, capture_output=True)
    assert not (tmp_path / "taken").exists()
    shown = module["elsewhere"]([sys.executable, "-m", "json.tool", "--help"])
    assert "usage" in subprocess.run(shown, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    for other in (["R", "--slave", "-e", "x", "-m"], ["bash", "-c", "x"], ["x"], []):
        assert module["elsewhere"](other) == other


def test_what_runs_in_the_users_environment_is_python_310():
    for file in START.parent.rglob("*.py"):
        ast.parse(file.read_text(), feature_version=(3, 10))


def test_visitors_trust_no_notebook():
    distrust = runpy.run_path(str(LINKS))["distrust"]
    model = {"type": "notebook", "content": {"cells": [{"metadata": {"trusted": True}}, {}]}}
    distrust(model)
    assert model["content"]["cells"] == [{"metadata": {"trusted": False}}] * 2
    for other in ({"type": "notebook", "content": None}, {"type": "file", "content": "x"}):
        distrust(other)


@pytest.mark.parametrize(("name", "visits"), [("bob", False), ("alice", True), (None, True)])
def test_who_visits(monkeypatch, name, visits):
    monkeypatch.setenv("JUPYTERHUB_USER", "bob")
    user = None if name is None else SimpleNamespace(username=name)
    assert runpy.run_path(str(LINKS))["is_visitor"](user) is visits


def test_a_link_that_brought_nothing(tmp_path):
    assert runpy.run_path(str(LINKS))["make_no_module"](str(tmp_path / "tornado")) == []


def test_the_hub_is_asked_again_whether_a_session_holds(monkeypatch):
    monkeypatch.setattr(HubAuth, "_check_hub_authorization", HubAuth._check_hub_authorization)
    module = runpy.run_path(str(LINKS))
    answers, asked = [{"name": "bob"}, OSError("no hub"), {"name": "bob"}, None], []

    class Auth:
        cache = _ExpiringDict(300)

    async def check(self, url, token, cache_key=None, use_cache=True):
        if use_cache and cache_key in self.cache:
            return self.cache[cache_key]
        asked.append(url)
        answer = answers[len(asked) - 1]
        if isinstance(answer, OSError):
            raise answer
        if use_cache:
            self.cache[cache_key] = answer
        return answer

    ask = module["asking_again"](check)

    def later(seconds):
        Auth.cache.timestamps["key"] -= seconds
        return asyncio.run(ask(Auth(), "/hub/api/user", "token", cache_key="key"))

    Auth.cache["key"] = None
    Auth.cache.clear()
    assert asyncio.run(ask(Auth(), "/hub/api/user", "token", cache_key="key")) == {"name": "bob"}
    assert later(10) == {"name": "bob"}
    assert len(asked) == 1
    assert later(30) == {"name": "bob"}, "the hub is away"
    assert len(asked) == 2
    assert later(0) == {"name": "bob"}
    assert len(asked) == 3
    assert later(30) is None, "the session has ended"
    assert len(asked) == 4


def test_the_hub_that_is_asked_is_the_real_one(monkeypatch):
    """What is patched is there, and of the kind that is patched."""
    monkeypatch.setattr(HubAuth, "_check_hub_authorization", HubAuth._check_hub_authorization)
    before = HubAuth._check_hub_authorization
    assert list(inspect.signature(before).parameters) == ["self", "url", "api_token", "cache_key", "use_cache"]
    runpy.run_path(str(LINKS))
    assert HubAuth._check_hub_authorization is not before


@pytest.mark.parametrize(("number", "told"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EACCES, False)])
def test_a_full_home_says_how_to_make_room(number, told):
    def trash(path):
        raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match="rm -r ~/.local/share/Trash" if told else "Permission denied"):
        runpy.run_path(str(LINKS))["told_when_full"](trash)("x")
