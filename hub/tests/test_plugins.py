"""Plugins of the older TLJH, as packages of their own beside the hub."""

import io
import json
import subprocess
import sys
import textwrap

import pytest
from traitlets.config import Config

from tljh import plugins, snippets
from tljh.configure import add_snippets, configure


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes a plugin: a module, and the entry point that names it."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def make(name, text):
        (site / f"{name}.py").write_text(textwrap.dedent(text))
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[tljh]\n{name} = {name}\n")
        plugins.here.cache_clear()
        return site

    yield make
    plugins.here.cache_clear()
    for name in [name for name in sys.modules if name.startswith("plug_")]:
        del sys.modules[name]


COURSE = """
    from tljh.hooks import hookimpl

    made = []

    @hookimpl
    def tljh_extra_user_conda_packages():
        return ["csvkit"]

    @hookimpl
    def tljh_extra_user_pip_packages():
        return ["there", "there"]

    @hookimpl
    def tljh_extra_hub_pip_packages():
        return ["jupyterhub-traefik-proxy"]

    @hookimpl
    def tljh_extra_apt_packages():
        return ["sl"]

    @hookimpl
    def tljh_custom_jupyterhub_config(c):
        c.Spawner.default_url = "/tree"
        c.JupyterHub.services = [{"name": "course", "api_token": "x" * 32}]

    @hookimpl
    def tljh_config_post_install(config):
        config.setdefault("user_environment", {})["default_app"] = "notebook"

    @hookimpl
    def tljh_post_install():
        print("what is printed is no answer")

    @hookimpl
    def tljh_new_user_create(username):
        made.append(username)
"""


def test_what_plugins_want_installed(package):
    package("plug_course", COURSE)
    assert plugins.ask() == {
        "apt": ["sl"],
        "conda": ["csvkit"],
        "channels": [],
        "pip": ["there"],
        "hub": ["jupyterhub-traefik-proxy"],
        "plugins": ["plug_course"],
        "broken": {},
    }


def test_one_that_fails_is_named_and_the_others_are_asked(package):
    package("plug_course", COURSE)
    package("plug_a", "import nothing_of_this_name\n")
    package("plug_z", "from tljh.hooks import hookimpl\n@hookimpl\ndef tljh_extra_apt_packages():\n    raise ValueError('no list')\n")
    answer = plugins.ask()
    assert answer["apt"] == ["sl"]
    assert answer["plugins"] == ["plug_a", "plug_course", "plug_z"]
    assert answer["broken"] == {
        "plug_a": "ModuleNotFoundError: No module named 'nothing_of_this_name'",
        "plug_z": "tljh_extra_apt_packages: ValueError: no list",
    }


def test_settings_are_changed(package):
    package("plug_course", COURSE)
    assert plugins.config({"users": {"admin": ["alice"]}}) == {
        "config": {"users": {"admin": ["alice"]}, "user_environment": {"default_app": "notebook"}},
        "broken": {},
    }


def test_what_is_printed_is_no_answer(package):
    site = package("plug_course", COURSE)
    done = subprocess.run(
        [sys.executable, "-m", "tljh.plugins", "finish"], capture_output=True, text=True, check=True, env={"PYTHONPATH": f"{site}:{':'.join(sys.path)}"}
    )
    assert json.loads(done.stdout) == {"broken": {}}
    assert "no answer" in done.stderr


def test_a_new_account_is_told_and_a_failure_stops_nobody(package, caplog):
    package("plug_course", COURSE)
    package("plug_z", "from tljh.hooks import hookimpl\n@hookimpl\ndef tljh_new_user_create(username):\n    raise OSError('no quota')\n")
    assert plugins.new_account("jupyter-bob")
    assert sys.modules["plug_course"].made == ["jupyter-bob"]
    assert "PLUGIN FAILED: plug_z: tljh_new_user_create('jupyter-bob'): OSError: no quota" in caplog.text


def test_the_hub_has_what_a_plugin_says_and_what_it_needs(package, here):
    package("plug_course", COURSE)
    c = Config()
    add_snippets(c, here, configure(c, here))
    assert c.Spawner.default_url == "/tree"
    assert {"course", "cull-idle"} <= {service["name"] for service in c.JupyterHub.services}


def test_a_file_has_the_last_word(package, here):
    package("plug_course", COURSE)
    here.config_d.mkdir(parents=True, exist_ok=True)
    (here.config_d / "a.py").write_text('c.Spawner.default_url = "/lab/tree/start"\n')
    c = Config()
    add_snippets(c, here, configure(c, here))
    assert c.Spawner.default_url == "/lab/tree/start"


@pytest.mark.parametrize(
    "text, closed",
    [
        ("from tljh.hooks import hookimpl\n@hookimpl\ndef tljh_custom_jupyterhub_config(c):\n    c.Spawner.mem_limit = 1 / 0\n", False),
        ("import nothing_of_this_name\n", False),
        ("import nothing_of_this_name\nAuthenticator = 1\n", True),
    ],
)
def test_a_plugin_that_fails_is_left_out_and_told(package, here, text, closed):
    package("plug_bad", text)
    c = Config()
    add_snippets(c, here, configure(c, here))
    assert c.JupyterHub.template_vars["tljh_snippets"][0].startswith("plugin plug_bad: left out as a whole: ")
    assert c.JupyterHub.template_vars["tljh_closed"] is closed
    assert snippets.Record.read(here).problems[0]["file"] == "plugin plug_bad"


def test_a_hub_that_does_not_start_with_a_plugin_starts_without_it(package, here):
    package("plug_bad", "from tljh.hooks import hookimpl\n@hookimpl\ndef tljh_custom_jupyterhub_config(c):\n    c.Spawner.default_url = '/x'\n")
    assert snippets.try_without_new(here, ValueError("it does not start"))
    c = Config()
    add_snippets(c, here, configure(c, here))
    assert "the hub does not start with it" in c.JupyterHub.template_vars["tljh_snippets"][0]


def test_what_public_plugins_import():
    from tljh import conda, config, configurer, names, normalize, systemd, user, user_creating_spawner, utils, yaml
    from tljh.spawner import UserSpawner

    assert config.CONFIG_FILE.endswith("/config/config.yaml")
    assert config.USER_ENV_PREFIX.endswith("/user")
    assert user_creating_spawner.UserCreatingSpawner is UserSpawner
    assert yaml.yaml.load(io.StringIO("a: [1]")) == {"a": [1]}
    written = io.StringIO()
    yaml.yaml.dump({"b": 1, "a": 2}, written)
    assert written.getvalue() == "b: 1\na: 2\n"
    assert callable(configurer.load_config) and callable(systemd.install_unit) and callable(user.ensure_user_group)
    assert utils.run_subprocess(["echo", "done"]) == "done\n"
    assert normalize.generate_system_username("jupyter-Bob") == names.system_name("Bob")
    assert conda.fix_permissions("/opt/tljh/user") is None
