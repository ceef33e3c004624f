"""Which way to start a server is tried, and what people are told. The starts themselves are the tests' in guests."""

import asyncio
import time

import pytest

from tljh import rescue, spawner, systemd
from tljh.accounts import Account
from tljh.failures import SpawnFailure, Story
from tljh.rescue import USUAL, Way

SAFE, RESCUE, BOTH = Way(safe=True), Way(rescue=True), Way(safe=True, rescue=True)


def story(kind, *lines):
    return Story(kind, f"What {kind}.", "Hint.", list(lines))


@pytest.mark.parametrize(
    ("way", "kind", "other"),
    [
        (USUAL, "environment", RESCUE),
        (USUAL, "exited", SAFE),
        (USUAL, "hung", SAFE),
        (SAFE, "exited", BOTH),
        (SAFE, "environment", BOTH),
        (RESCUE, "exited", BOTH),
        (RESCUE, "environment", None),
        (SAFE, "hung", None),
        (BOTH, "exited", None),
        *((way, kind, None) for way in (USUAL, SAFE, RESCUE, BOTH) for kind in ("disk", "memory", "system", "account", "timeout", "socket")),
    ],
)
def test_each_cause_has_one_other_way(way, kind, other):
    assert rescue.after(way, kind, rescue_there=True) == other


@pytest.mark.parametrize(("way", "kind", "other"), [(USUAL, "environment", None), (USUAL, "exited", SAFE), (SAFE, "exited", None)])
def test_without_a_rescue_environment_there_is_less_to_try(way, kind, other):
    assert rescue.after(way, kind, rescue_there=False) == other


def test_a_broken_environment_is_told_rather_than_what_came_of_it():
    assert rescue.telling([story("environment"), story("exited")]).kind == "environment"
    assert rescue.telling([story("environment"), story("memory")]).kind == "memory"
    assert rescue.telling([story("exited"), story("exited", "last")]).lines == ["last"]
    assert rescue.cause([story("exited"), story("environment")]).what == "What environment."
    assert rescue.cause([story("exited"), story("exited", "why")]) == Story("environment", rescue.UNSEEN, lines=["why"])


def test_the_note_tells_what_is_left_out():
    safe = rescue.note(SAFE, [story("exited", "SyntaxError: no")])
    assert "without your own settings" in safe
    assert "    SyntaxError: no\n" in safe
    assert "rescue" not in safe
    from_rescue = rescue.note(RESCUE, [story("environment")])
    assert "What environment." in from_rescue
    assert rescue.REPAIR in from_rescue
    assert "your own settings" not in from_rescue
    both = rescue.note(BOTH, [story("environment"), story("exited")])
    assert "rescue environment" in both
    assert "without your own settings" in both
    assert "your own settings" not in rescue.note(BOTH, [story("exited"), story("exited")]), "they were shown not to be the reason"


@pytest.mark.parametrize(
    ("usual", "way", "note", "page"),
    [
        ("/lab", SAFE, True, "/lab/tree/SAFE-START.md"),
        ("/tree", SAFE, True, "/edit/SAFE-START.md"),
        ("/tree", RESCUE, True, "/lab/tree/SAFE-START.md"),
        ("/tree", RESCUE, False, "/lab"),
        ("/voila", SAFE, True, "/voila"),
        ("/lab", SAFE, False, "/lab"),
    ],
)
def test_the_first_page_is_the_note(usual, way, note, page):
    assert rescue.first_page(usual, way, note) == page


def test_modules_are_looked_for_in_any_python(tmp_path):
    site = tmp_path / "lib/python3.12/site-packages"
    assert rescue.missing_module(tmp_path, ["ipykernel"]) == tmp_path / "lib/ipykernel"
    for name in ("ipykernel", "jupyter_server"):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").touch()
    assert rescue.missing_module(tmp_path, ["jupyter_server", "ipykernel"]) is None
    assert rescue.missing_module(tmp_path, ["jupyter_server", "jupyterlab"]) == site / "jupyterlab"
    (site / "jupyterlab-4.5.0.dist-info").mkdir()
    (site / "jupyterlab-4.5.0.dist-info/direct_url.json").write_text('{"dir_info": {"editable": true}}')
    assert rescue.missing_module(tmp_path, ["jupyter_server", "jupyterlab"]) is None
    (site / "ipykernel/__init__.py").unlink()
    assert rescue.missing_module(tmp_path, ["ipykernel"]) == site / "ipykernel"


def test_a_server_without_page_or_kernel_is_not_started_as_usual(monkeypatch, here):
    from test_spawner import make

    prefix = here.user_bin.parent
    site = prefix / "lib/python3.14/site-packages"
    for name in ("jupyter_server", "ipykernel", "jupyterlab"):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").touch()
    prefix.joinpath("bin").mkdir(exist_ok=True)
    for name in ("python", "jupyterhub-singleuser"):
        (prefix / "bin" / name).touch(mode=0o755)
    (here.root / "rescue/bin").mkdir(parents=True)
    (here.root / "rescue/bin/python").touch(mode=0o755)
    options = {"cmd": [str(prefix / "bin/jupyterhub-singleuser")], "rescue_environment": str(here.root / "rescue")}
    made = make(monkeypatch, **options)
    assert made._missing() is None
    (site / "jupyterlab/__init__.py").unlink()
    assert made._missing() == str(site / "jupyterlab")
    assert make(monkeypatch, default_url="/tree", **options)._missing() is None, "a page that needs no JupyterLab"
    assert make(monkeypatch, **options | {"rescue_environment": ""})._missing() is None, "nothing is better"
    (here.root / "own/bin").mkdir(parents=True)
    for name in ("python", "jupyterhub-singleuser"):
        (here.root / "own/bin" / name).touch(mode=0o755)
    assert make(monkeypatch, **options | {"cmd": [str(here.root / "own/bin/jupyterhub-singleuser")]})._missing() is None, (
        "an admin's own is the admin's business"
    )


def test_only_settings_make_a_start_impatient(tmp_path):
    assert not rescue.has_settings(str(tmp_path / "nowhere"))
    (tmp_path / ".jupyter/lab/user-settings").mkdir(parents=True)
    (tmp_path / ".jupyter/migrated").touch()
    assert not rescue.has_settings(str(tmp_path))
    (tmp_path / ".jupyter/jupyter_server_config.py").touch()
    assert rescue.has_settings(str(tmp_path))


def test_admins_are_told_once_until_it_is_over(here):
    path = here.rescue_told
    assert rescue.told(path) is None
    assert not rescue.forget(path, time.time())
    begun = time.time() - 10
    assert rescue.tell(path, story("environment", "first", "\x1b[2Jlast"))
    assert not rescue.tell(path, story("environment"))
    found = rescue.told(path)
    assert (found["cause"], found["detail"]) == ("What environment.", "[2Jlast")
    assert not rescue.forget(path, begun), "a server that began before it broke proves nothing"
    assert rescue.forget(path, time.time() + 1)
    assert rescue.told(path) is None
    path.write_text("[]")
    assert rescue.told(path) is None


class Starts:
    """A spawner whose starts end as they are told, and that notes what was tried."""

    def __init__(self, monkeypatch, here, ends):
        from test_spawner import make

        self.made = make(monkeypatch, rescue_environment=str(here.root / "rescue"))
        (here.root / "rescue/bin").mkdir(parents=True)
        (here.root / "rescue/bin/python").touch(mode=0o755)
        self.ends, self.tried = list(ends), []
        monkeypatch.setattr(self.made, "_attempt", self.attempt)

        async def stop(unit):
            pass

        monkeypatch.setattr(systemd, "stop", stop)

    async def attempt(self, account, way, stories):
        self.tried.append(way)
        if (kind := self.ends[len(self.tried) - 1]) is not None:
            raise SpawnFailure(story(kind))

    def run(self):
        return asyncio.run(self.made._find_way(Account("jupyter-bob", 1001, 1001, "/home/jupyter-bob")))


@pytest.mark.parametrize(
    ("ends", "tried", "told"),
    [
        ([None], [USUAL], None),
        (["exited", None], [USUAL, SAFE], None),
        (["hung", None], [USUAL, SAFE], None),
        (["environment", None], [USUAL, RESCUE], "What environment."),
        (["environment", "exited", None], [USUAL, RESCUE, BOTH], "What environment."),
        (["exited", "exited", None], [USUAL, SAFE, BOTH], rescue.UNSEEN),
    ],
)
def test_a_start_goes_on_to_the_way_that_works(monkeypatch, here, ends, tried, told):
    starts = Starts(monkeypatch, here, ends)
    assert starts.run() == tried[-1]
    assert starts.tried == tried
    assert (rescue.told(here.rescue_told) or {}).get("cause") == told


@pytest.mark.parametrize(
    ("ends", "kind", "told"),
    [
        (["memory"], "memory", False),
        (["disk"], "disk", False),
        (["exited", "exited", "exited"], "exited", False),
        (["environment", "exited", "exited"], "environment", True),
        (["exited", "disk"], "disk", False),
    ],
)
def test_what_no_way_helps_against_is_told(monkeypatch, here, ends, kind, told):
    starts = Starts(monkeypatch, here, ends)
    with pytest.raises(SpawnFailure) as failure:
        starts.run()
    assert failure.value.story.kind == kind
    assert len(starts.tried) == len(ends)
    assert here.rescue_told.exists() is told


def test_the_server_alone_does_without_what_its_user_installed(monkeypatch):
    from test_spawner import make

    made = make(monkeypatch, cmd=["/e/bin/jupyterhub-singleuser", "--x"], rescue_environment="/r")
    start = str(spawner.START)
    assert made._command(USUAL) == made._command(SAFE) == ["/e/bin/python", "-s", start, "/e/bin/jupyterhub-singleuser", "--x"]
    assert made._command(RESCUE) == ["/r/bin/python", "-I", start, "jupyterhub.singleuser"]
    assert make(monkeypatch, cmd=["/own/program"])._command(USUAL) == ["/own/program"]


def test_a_server_loads_what_is_in_the_home_only_where_an_admin_wants_it(monkeypatch):
    from test_spawner import make

    made = make(monkeypatch, cmd=["/e/bin/jupyterhub-singleuser"], rescue_environment="/r", own_extensions=True)
    assert made._command(USUAL) == ["/e/bin/python", "-s", "/e/bin/jupyterhub-singleuser"]
    assert made._command(RESCUE) == ["/r/bin/python", "-I", "-m", "jupyterhub.singleuser"]
    assert made._command(SAFE) == ["/e/bin/python", "-s", str(spawner.START), "/e/bin/jupyterhub-singleuser"]


def test_a_safe_start_looks_elsewhere(monkeypatch):
    from test_spawner import make

    made = make(monkeypatch, rescue_environment="/r")
    monkeypatch.setattr(
        spawner.UserSpawner, "get_env", lambda self: {"PATH": "/e/bin", "JUPYTERHUB_DEFAULT_URL": "/lab", "JUPYTERHUB_SINGLEUSER_APP": "notebook"}
    )
    assert "PYTHONNOUSERSITE" not in made._environment(USUAL)
    safe = made._environment(SAFE)
    assert safe["JUPYTER_CONFIG_DIR"] == "/run/tljh-safe-jupyter-bob/config"
    assert safe["JUPYTERHUB_DEFAULT_URL"] == "/lab/tree/SAFE-START.md"
    assert safe["JUPYTERHUB_SINGLEUSER_APP"] == "notebook"
    from_rescue = made._environment(RESCUE)
    assert from_rescue["PATH"] == "/r/bin:/e/bin"
    assert not {"JUPYTERHUB_SINGLEUSER_APP", "JUPYTER_CONFIG_DIR"} & set(from_rescue)


def test_the_note_is_put_and_taken_away_by_the_user(monkeypatch, tmp_path):
    from test_spawner import make

    made = make(monkeypatch)
    account = Account("jupyter-bob", 1001, 1001, str(tmp_path / 'a "home"'))
    (tmp_path / 'a "home"').mkdir()
    (_, put), *folder = made._way_properties(account, SAFE)
    assert put.startswith('-"/bin/cp" ')
    assert put.endswith('/a \\"home\\"/SAFE-START.md"')
    assert dict(folder)["RuntimeDirectory"] == "tljh-safe-jupyter-bob"
    assert made._way_properties(account, USUAL) == []
    (tmp_path / 'a "home"' / "SAFE-START.md").symlink_to("nowhere")
    assert made._way_properties(account, USUAL)[0][1].startswith("-/bin/rm -f ")
