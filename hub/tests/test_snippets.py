"""Files in jupyterhub_config.d: what they say holds, or is refused in words, and none of it breaks what the hub needs."""

import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from jupyterhub.proxy import ConfigurableHTTPProxy, Proxy
from jupyterhub.spawner import Spawner
from systemdspawner import SystemdSpawner
from traitlets import Any, Bool, Dict, Enum, Float, Integer, List, Set, Unicode, Union
from traitlets.config import Application, Config
from traitlets.config.loader import LazyConfigValue

from tljh import auth, rescue, settings, snippets, spawner
from tljh.accounts import Account
from tljh.configure import add_snippets, configure
from tljh.paths import PROBE_USER
from tljh.proxy import WatchedProxy
from tljh.snippet_rules import MERGED, REFUSED
from tljh.spawner import UserSpawner
from tljh.variables import TABLE

ACCOUNT = Account("jupyter-bob", 1001, 1001, "/home/jupyter-bob")


def with_files(here, config="users: {admin: [alice], allowed: [bob], banned: [eve]}", **files):
    """The config of the hub with files of these names (10-x is written x10)."""
    here.config.write_text(config)
    for name, text in files.items():
        (here.config_d / f"{name}.py").write_text(text)
    c = Config()
    add_snippets(c, here, configure(c, here))
    return c


def told(here):
    record = json.loads(here.snippets.read_bytes())
    return [f"{each['file']}: {each['words']}" for each in record["problems"]]


def closed(c):
    return (c.Authenticator.allowed_users, c.Authenticator.allow_existing_users) == ({"alice"}, False) and "alice" in c.Authenticator.admin_users


# Each trait of each class.

FAMILIES = {
    "JupyterHub": (JupyterHub, [Application, JupyterHub]),
    "Spawner": (UserSpawner, [Spawner, SystemdSpawner, UserSpawner]),
    "Authenticator": (auth.FirstUseAuthenticator, [Authenticator, auth.FirstUseAuthenticator]),
    "Proxy": (WatchedProxy, [Proxy, ConfigurableHTTPProxy, WatchedProxy]),
}

TRAITS = [(family, cls, name) for family, (_, classes) in FAMILIES.items() for cls in classes for name in sorted(cls.class_own_traits(config=True))]

# What a file says of a trait whose kind alone does not tell what it takes.
SAID = {
    "authenticator_class": ("'dummy'", lambda got: got.__name__ == "DummyAuthenticator"),
    "spawner_class": ("type('Own', (__import__('tljh.spawner').spawner.UserSpawner,), {})", lambda got: got.__name__ == "Own"),
    "services": ("[{'name': 'own'}]", lambda got: {"own", "tljh-installer", "cull-idle"} == {each["name"] for each in got}),
    "load_roles": ("[{'name': 'own-role'}]", lambda got: {"own-role", "tljh-installer", "cull-idle"} == {each["name"] for each in got}),
    "extra_handlers": ("[('/own', object)]", lambda got: {"/own", "/break-glass"} <= {each[0] for each in got}),
    "username_pattern": ("'[a-z]+'", lambda got: got == "[a-z]+"),
    "base_url": ("'/own/'", lambda got: got == "/own/"),
    "log_level": ("10", lambda got: got == 10),
    "extra_log_handlers": ("[__import__('logging').NullHandler()]", lambda got: len(got) == 1),
    "cookie_secret": ("b'x' * 32", lambda got: got == b"x" * 32),
    "trusted_downstream_ips": ("['10.0.0.1']", lambda got: got == ["10.0.0.1"]),
    "whitelist": ("{'probe'}", lambda got: True),
    "allow_devices": ("['/dev/null']", lambda got: got == ["/dev/null"]),
    "isolate_devices": ("False", lambda got: got is False),
    "poll_jitter": ("0.2", lambda got: got == 0.2),
    "public_url": ("'https://hub.example.org/'", lambda got: got == "https://hub.example.org/"),
    "subdomain_hook": ("print", lambda got: True),
    "proxy_class": ("'traefik'", lambda got: True),
    "custom_scopes": ("{'custom:own': {'description': 'x'}}", lambda got: "custom:own" in got),
    "load_groups": ("{'own': {'users': ['bob']}}", lambda got: "own" in got),
    "extra_routes": ("{'/own': 'http://127.0.0.1:9000'}", lambda got: len(got) == 1),
    "oauth_client_allowed_scopes": ("['self']", lambda got: got == ["self"]),
    "admin_access": ("True", lambda got: got is True),
}

# What JupyterHub alone goes by: a server's unit shows nothing of it.
OF_THE_HUB = {
    *("apply_user_options", "auth_state_hook", "consecutive_failure_limit", "group_overrides", "http_timeout", "oauth_roles", "options_form"),
    *("options_from_form", "poll_interval", "poll_jitter", "post_stop_hook", "pre_spawn_hook", "progress_ready_hook", "server_token_scopes", "start_timeout"),
    "extra_user_groups",  # of accounts
}


def said(trait, now):
    """Text that a file may assign, other than what holds now."""
    if isinstance(trait, Bool):
        return repr(not now)
    if isinstance(trait, Integer | Float):
        return repr((now or 0) + 7)
    if isinstance(trait, Enum):
        return repr(next(value for value in trait.values if value != now))
    if isinstance(trait, List):
        return "['/probe']"
    if isinstance(trait, Set):
        return "{'probe'}"
    if isinstance(trait, Dict):
        return "{'PROBE': ['probe']}" if trait.name == "extra_user_groups" else "{'PROBE': 'probe'}"
    if isinstance(trait, Union):
        return said(trait.trait_types[0], now)
    if type(trait).__name__ == "ByteSpecification":
        return "3 << 30"
    if type(trait).__name__ == "Command":
        return "['/probe']"
    if isinstance(trait, Unicode):
        return "'/probe'"
    if type(trait).__name__ == "Callable" or type(trait) is Any:
        return "print"
    raise AssertionError(f"what to say of {trait.name}, a {type(trait).__name__}?")


def made(cls, c):
    if issubclass(cls, Spawner):
        hub = SimpleNamespace(public_host="", api_url="http://127.0.0.1:971/hub/api", base_url="/hub/")
        user = SimpleNamespace(name="bob", admin=False, id=1, url="/user/bob/", escaped_name="bob")
        return cls(config=c, _mock=True, user=user, hub=hub, api_token="token", oauth_client_id="bob")
    return cls(config=c, **({"app": SimpleNamespace(subdomain_host="")} if issubclass(cls, Proxy) else {}))


def rendered(server):
    """All that a server gets."""
    return server._properties(ACCOUNT), server.get_env(), server._command(rescue.USUAL), server._arguments()


@pytest.mark.parametrize(("family", "cls", "name"), TRAITS, ids=[f"{cls.__name__}.{name}" for _, cls, name in TRAITS])
def test_every_trait_has_an_effect_or_a_reason(here, monkeypatch, family, cls, name):
    monkeypatch.setattr(spawner, "get_systemd_version", lambda: 252)
    monkeypatch.setattr(spawner.machine, "has_capability", lambda bit: True)
    monkeypatch.setattr(spawner.devices, "SHOWN", "/")
    monkeypatch.setattr(UserSpawner, "server", None)
    monkeypatch.setenv("/probe", "kept")
    effective = FAMILIES[family][0]
    before = made(effective, with_files(here))
    text, fits = SAID.get(name, (None, None))
    if text is None:
        text = said(cls.class_traits(config=True)[name], None if name in REFUSED[family] else getattr(before, name))
    c = with_files(here, own=f"c.{cls.__name__}.{name} = {text}")
    if (reason := REFUSED[family].get(name)) is not None:
        assert told(here) == [f"own.py: c.{cls.__name__}.{name} is not used: {reason}"]
        return
    assert told(here) == []
    after = made(effective, c)
    got = getattr(after, name)
    if fits is not None:
        assert fits(got), got
    elif name in MERGED.get(family, ()):
        wanted = eval(text)
        assert set(wanted) < set(got), got
        assert set(getattr(before, name)) < set(got), "what the hub needs is gone"
    else:
        assert got == eval(text), got
    if family == "Spawner" and name not in OF_THE_HUB:
        assert rendered(after) != rendered(before), "the trait is set, and servers know nothing of it"


def test_each_reason_belongs_to_a_trait():
    for family, (effective, _) in FAMILIES.items():
        assert REFUSED[family].keys() <= set(effective.class_trait_names(config=True))
        assert MERGED.get(family, set()) <= set(effective.class_trait_names(config=True))
        assert not REFUSED[family].keys() & MERGED.get(family, set())
    assert set(effective.class_trait_names(config=True)) >= set(REFUSED["Proxy"])


def test_the_manual_names_each_reason():
    page = (Path(__file__).parents[2] / "docs/snippets.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for family, refused in REFUSED.items():
        for option, reason in refused.items():
            section = f"`c.{'ConfigurableHTTPProxy' if family == 'Proxy' else family}.`"
            assert [row for row in rows if section in row and f"`{option}`" in row and reason in row], (family, option)
    for name, (what, who) in TABLE.items():
        assert f"| `{name}` | {who} | {what} |" in rows


# What files of real sites say.


def test_lists_that_replace_and_lists_that_append(here):
    for text in (
        "c.JupyterHub.services = [{'name': 'own'}]",
        "c.JupyterHub.services.append({'name': 'own'})",
        "c.JupyterHub.services.insert(0, {'name': 'own'})",
    ):
        c = with_files(here, own=text)
        assert sorted(each["name"] for each in c.JupyterHub.services) == ["cull-idle", "own", "tljh-installer"]
    c = with_files(here, own="c.JupyterHub.template_paths.insert(0, '/own')\nc.JupyterHub.template_vars.update({'announcement': 'x'})")
    assert c.JupyterHub.template_paths[0] == "/own"
    assert len(c.JupyterHub.template_paths) == 2
    assert {"announcement", "tljh_name", "tljh_problems"} <= c.JupyterHub.template_vars.keys()


def test_names_that_the_hub_needs_are_not_taken(here):
    c = with_files(here, own="c.JupyterHub.load_roles = [{'name': 'tljh-installer', 'scopes': []}, {'name': 'mine'}, {}]")
    roles = {role["name"]: role for role in c.JupyterHub.load_roles}
    assert "admin:users" in roles["tljh-installer"]["scopes"]
    assert "mine" in roles
    assert told(here) == [
        "own.py: c.JupyterHub.load_roles is not used: the hub needs 'tljh-installer' as it is: choose another name",
        "own.py: c.JupyterHub.load_roles is not used: an entry of it has no name",
    ]


def test_headers_of_a_file_are_added_to_the_hubs(here):
    own = {"headers": {"X-Own": "1", "Referrer-Policy": "origin"}, "xsrf_cookie_kwargs": {"samesite": "Lax"}}
    c = with_files(here, own=f"c.JupyterHub.tornado_settings = {own!r}")
    headers = c.JupyterHub.tornado_settings["headers"]
    assert headers == {"X-Own": "1", "Referrer-Policy": "origin", "X-Content-Type-Options": "nosniff"}
    assert c.JupyterHub.tornado_settings["xsrf_cookie_kwargs"] == {"samesite": "Lax", "httponly": True}


def test_who_is_banned_or_admin_by_the_config_stays(here):
    lines = ["c.Authenticator.blocked_users = {'mallory'}", "c.FirstUseAuthenticator.admin_users = {'dana'}", "c.Authenticator.allowed_users = {'carol'}"]
    c = with_files(here, own="\n".join(lines))
    made_of = auth.FirstUseAuthenticator(config=c)
    assert made_of.blocked_users == {"mallory", "eve", PROBE_USER}
    assert made_of.admin_users == {"alice", "dana"}
    assert made_of.allowed_users == {"carol", "alice", "dana"} or made_of.allowed_users == {"carol"}


def test_a_base_class_holds_though_the_config_names_the_subclass(here):
    config = "auth: {FirstUseAuthenticator: {request_otp: false, min_password_length: 9}}"
    c = with_files(here, config, own="c.Authenticator.request_otp = True")
    made_of = auth.FirstUseAuthenticator(config=c)
    assert (made_of.request_otp, made_of.min_password_length) == (True, 9)


def test_a_file_that_throws_is_left_out_and_named(here, caplog):
    c = with_files(here, a="c.Spawner.start_timeout = 77", b="c.Spawner.start_timeout = 78\nimport nosuch\n", d="c.Spawner.http_timeout = 99")
    assert (c.Spawner.start_timeout, c.Spawner.http_timeout) == (77, 99)
    assert told(here) == ["b.py: left out as a whole: line 2: ModuleNotFoundError: No module named 'nosuch'"]
    assert "SNIPPET NOT USED: b.py: left out" in caplog.text
    assert c.JupyterHub.template_vars["tljh_snippets"] == told(here)
    assert not closed(c)


@pytest.mark.parametrize("text", ["raise SystemExit(3)", "c.Spawner.cmd = [", "1 / 0", "\0", "c.Spawner.environment = {k: v}"])
def test_however_it_fails(here, text):
    c = with_files(here, bad=text)
    assert len(told(here)) == 1
    assert "bad.py: left out as a whole" in told(here)[0]
    assert c.JupyterHub.spawner_class is UserSpawner


@pytest.mark.parametrize(
    "text",
    [
        "c.Authenticator.allowed_users = {'bob'}\n1 / 0",
        "c.JupyterHub.authenticator_class = 'nosuch'",
        "c.Authenticator.allowed_users = 3",
        "import nosuch\nc.JupyterHub.authenticator_class = nosuch.LTIAuthenticator",
    ],
)
def test_what_may_have_kept_somebody_out_closes_the_hub_to_all_but_admins(here, text, caplog):
    c = with_files(here, config="users: {admin: [alice], allowed: [bob]}\nauth: {type: dummy}", own=text)
    assert closed(c)
    assert c.JupyterHub.authenticator_class is auth.FirstUseAuthenticator
    assert "only admins can log in anew" in caplog.text
    assert json.loads(here.snippets.read_bytes())["closed"] is True
    assert c.JupyterHub.template_vars["tljh_closed"] is True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("c.Spawner.defualt_url = '/tree'", "c.Spawner.defualt_url is not used: there is no such option; default_url is one"),
        ("c.Spawner.start_timeout = 'long'", "c.Spawner.start_timeout is not used: must be a whole number, not a text"),
        ("c.JupyterHub.spawner_class = 'simple'", "c.JupyterHub.spawner_class is not used: servers need the hub's own spawner"),
        ("c.JupyterHub.spawner_class = 'dockerspawner.DockerSpawner'", "units of systemd, and run in no containers"),
        ("c.JupyterHub.spawner_class = 'kubespawner.KubeSpawner'", "sudo tljh-install env apply SOURCE --kernel NAME"),
        ("c.JupyterHub.spawner_class = type('DockerSpawner', (__import__('jupyterhub.spawner').spawner.LocalProcessSpawner,), {})", "run in no containers"),
        ("c.JupyterHub.spawner_class = 'nosuch.Spawner'", "c.JupyterHub.spawner_class is not used: there is no such class"),
        ("c.port = 8000", "c.port is not used: it belongs to a class: write c.JupyterHub.port"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_and_the_others_hold(here, text, words):
    c = with_files(here, own=f"c.Spawner.http_timeout = 99\n{text}\n")
    assert c.Spawner.http_timeout == 99
    assert len(told(here)) == 1
    assert words in told(here)[0]
    assert c.JupyterHub.spawner_class is UserSpawner
    assert not closed(c)


def test_classes_that_are_not_used_are_told_and_are_no_problem(here, caplog):
    with_files(here, own="c.DockerSpawner.image = 'x'\nc.TraefikProxy.x = 1\nc.LDAPAuthenticator.server_address = 'x'\nc.CryptKeeper.keys = []\n")
    record = json.loads(here.snippets.read_bytes())
    assert record["problems"] == []
    assert [note["words"].split(" has ")[0] for note in record["notes"]] == ["c.DockerSpawner", "c.TraefikProxy", "c.LDAPAuthenticator"]
    assert "SNIPPET WITHOUT EFFECT: own.py: c.DockerSpawner" in caplog.text


def test_the_documented_name_of_an_authenticator_means_the_safe_one(here):
    c = with_files(here, own="c.JupyterHub.authenticator_class = 'firstuseauthenticator.FirstUseAuthenticator'")
    assert c.JupyterHub.authenticator_class is auth.FirstUseAuthenticator


def test_nothing_lazy_is_left_in_what_the_hub_needs(here):
    c = with_files(here, own="\n".join(f"c.JupyterHub.{name}" for name in MERGED["JupyterHub"]))
    assert not [name for name in MERGED["JupyterHub"] if isinstance(c.JupyterHub[name], LazyConfigValue)]
    assert len(c.JupyterHub.services) == 2


# Servers.


def test_a_command_without_a_path_is_the_user_environments(here, monkeypatch):
    here.user_bin.mkdir(parents=True)
    (here.user_bin / "jupyter-labhub").touch()
    c = with_files(here, own="c.Spawner.cmd = ['jupyter-labhub', '--x']")
    assert made(UserSpawner, c)._program == [str(here.user_bin / "jupyter-labhub"), "--x"]
    assert made(UserSpawner, c)._environment_folder() == here.user_bin.parent
    c = with_files(here, own="c.Spawner.cmd = 'jupyterhub-singleuser'")
    assert made(UserSpawner, c)._is_python()


def test_limits_of_one_user_and_a_files_limit_for_all(here):
    config = "limits: {memory: 1G, users: {bob: {memory: 2G}}}"
    c = with_files(here, config, own="c.Spawner.mem_limit = '3G'\nc.Spawner.cpu_limit = 3\n")
    bob = made(UserSpawner, c)
    assert (bob.mem_limit, bob.cpu_limit) == (2 << 30, 3)
    c = with_files(here, config.replace("bob", "carol"), own="c.Spawner.mem_limit = '3G'")
    assert made(UserSpawner, c).mem_limit == 3 << 30


def test_variables_that_are_the_hubs_alone(here, monkeypatch):
    monkeypatch.setattr(UserSpawner, "server", None)
    said = {"COURSE": "physics", "JUPYTER_RUNTIME_DIR": "/own", "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:1", "SHELL": "/bin/sh", "LANG": "de_DE.UTF-8"}
    c = with_files(here, "user_environment: {variables: {LANG: fr_FR.UTF-8, EDITOR: nano}}", own=f"c.Spawner.environment = {said!r}")
    env = made(UserSpawner, c).get_env()
    assert (env["COURSE"], env["SHELL"], env["LANG"], env["EDITOR"]) == ("physics", "/bin/sh", "de_DE.UTF-8", "nano")
    assert env["JUPYTER_RUNTIME_DIR"] == spawner.RUNTIME
    assert env["JUPYTERHUB_SERVICE_URL"].startswith("http+unix://")
    assert sorted(line.split(" is not used")[0] for line in told(here)) == [
        "own.py: c.Spawner.environment: JUPYTERHUB_SERVICE_URL",
        "own.py: c.Spawner.environment: JUPYTER_RUNTIME_DIR",
    ]


# A hub that does not start.


class App:
    """Stands for JupyterHub as far as the end of it goes."""

    subapp = None

    def __init__(self):
        self.left = []

    def exit(self, status=0):
        self.left.append(status)

    def close_handlers(self):
        pass


def fails(here, monkeypatch, error):
    """Whether a start that ends with an error is tried again."""
    tried = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: tried.append((program, arguments)))
    app = App()
    snippets.watch_start(app, here)
    try:
        raise error
    except type(error):
        app.exit(1)
    assert app.left == [1], "execv of tests returns"
    return tried == [(sys.executable, sys.orig_argv)]


def test_files_with_which_the_hub_does_not_start_are_found(here, monkeypatch):
    with_files(here, good="c.Spawner.start_timeout = 77")
    snippets.served(here)
    with_files(here, bad="c.JupyterHub.services = [{'name': 'own', 'url': 'http://127.0.0.1:9'}]")
    assert told(here) == []
    assert fails(here, monkeypatch, AttributeError("no nosuch"))
    c = with_files(here)
    assert [each["name"] for each in c.JupyterHub.services] == ["tljh-installer", "cull-idle"]
    assert c.Spawner.start_timeout == 77
    assert "bad.py: left out as a whole: the hub does not start with it: AttributeError: no nosuch" in told(here)[0]
    snippets.served(here)
    with_files(here)
    assert len(told(here)) == 1, "it is left out until it is another"
    with_files(here, bad="c.JupyterHub.services = []")
    assert told(here) == []


def test_files_are_not_blamed_for_what_also_happens_without_them(here, monkeypatch):
    with_files(here, new="c.Spawner.start_timeout = 77")
    assert fails(here, monkeypatch, OSError("the address is in use"))
    with_files(here)
    assert not fails(here, monkeypatch, OSError("the address is in use"))
    assert with_files(here).Spawner.start_timeout == 77
    assert not fails(here, monkeypatch, OSError("the address is in use")), "it is not tried for ever"
    assert told(here) == []


def test_without_files_of_its_own_a_hub_ends_as_always(here, monkeypatch):
    with_files(here)
    assert not fails(here, monkeypatch, OSError("the address is in use"))


def test_a_record_that_cannot_be_read_or_written_stops_nothing(here, caplog):
    here.snippets.write_text("[")
    with_files(here, own="c.Spawner.start_timeout = 77")
    assert told(here) == []
    here.snippets.unlink()
    here.snippets.mkdir()
    (here.snippets / "x").touch()
    with caplog.at_level(logging.ERROR):
        assert with_files(here, own="c.Spawner.start_timeout = 78").Spawner.start_timeout == 78
    assert "Cannot write" in caplog.text


def test_the_configs_own_trouble_stays(here):
    """A config that is not used is told beside files that are not used."""
    c = with_files(here, "users: [", own="1 / 0")
    assert isinstance(settings.load(here), settings.Loaded)
    assert len(c.JupyterHub.template_vars["tljh_problems"]) >= 1
    assert len(c.JupyterHub.template_vars["tljh_snippets"]) == 1


SCRIPTS = {
    "fine": "#!/bin/sh\n",
    "found": "#!/usr/bin/env sh\n",
    "windows": "#!/bin/sh\r\n",
    "python2": "#!/usr/bin/env python2.0\n",
    "gone": "#!/opt/gone/bin/python\n",
    "plain": "#!/bin/sh\n",
}

# What a file says of a service, and the words of why it is not used; None if it is.
SERVICES = [
    ("'command': ['{0}/fine', '-x'], 'url': 'http://127.0.0.1:9000'", None),
    ("'command': ['./found'], 'cwd': '{0}'", None),
    ("'command': ['fine'], 'environment': {{'PATH': '{0}'}}", None),
    ("'command': '{0}/fine'", None),
    ("'url': 'http://127.0.0.1:9000', 'api_token': 'a-token-of-mine'", None),
    ("'command': ['{0}/nosuch']", "its program {0}/nosuch does not exist: install it"),
    ("'command': ['nosuch-program', '-x']", "there is no program nosuch-program: install it, or write its whole path"),
    ("'command': '{0}/fine -x'", "write its command as a list: ['{0}/fine', '-x']"),
    ("'command': ['{0}/plain']", "may not be executed: sudo chmod +x {0}/plain"),
    ("'command': ['{0}/windows']", "has the line ends of Windows"),
    ("'command': ['{0}/python2']", "needs python2.0, which is not there"),
    ("'command': ['{0}/gone']", "needs /opt/gone/bin/python, which is not there"),
    ("'command': ['{0}/fine'], 'cwd': '{0}/nosuch'", "its folder {0}/nosuch (cwd) does not exist"),
    ("'command': ['{0}/fine'], 'user': 'nosuch'", "there is no account nosuch (user)"),
    ("'comand': ['{0}/fine']", "a service has no field 'comand'; 'command' is one"),
    ("'command': 7", "its command must be a list, not a number"),
    ("'url': 'localhost:9000'", "its url has to begin with http:// or https://"),
    ("'api_token': 'hush'", "its api_token needs 8 characters"),
    ("'oauth_client_id': 'own'", "service-"),
]


@pytest.mark.parametrize(("fields", "words"), SERVICES)
def test_a_service_that_cannot_be_used_is_left_out_alone(here, tmp_path, fields, words):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in SCRIPTS.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644 if name == "plain" else 0o755)
    text = f"c.JupyterHub.services = [{{'name': 'own', {fields.format(folder)}}}, {{'name': 'other'}}]\n"
    c = with_files(here, x10=text + "c.JupyterHub.load_roles = [{'name': 'reads', 'services': ['own', 'other'], 'scopes': ['list:users']}]\n")
    named = [each["name"] for each in c.JupyterHub.services]
    (role,) = (each["services"] for each in c.JupyterHub.load_roles if each["name"] == "reads")
    if words is None:
        assert not told(here)
        assert "own" in named and "own" in role
        return
    (problem,) = told(here)
    assert problem.startswith("x10.py: c.JupyterHub.services: own is not used: ")
    assert words.format(folder) in problem
    assert "hush" not in problem
    assert "own" not in named and "other" in named
    assert role == ["other"]
    assert not json.loads(here.snippets.read_bytes())["closed"]
