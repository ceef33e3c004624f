import json
import logging

import pytest
from traitlets import Bool, Dict, Enum, Float, HasTraits, Integer, Set, Tuple, Unicode, Union
from traitlets.config import Config

from tljh import auth, proxy, settings, spawner
from tljh.configure import authenticator_class, configure, proxy_token, server_memory
from tljh.paths import PROBE_USER
from tljh.snippets import local_files
from tljh.values import misfit


def configured(here, text):
    here.config.write_text(text)
    c = Config()
    configure(c, here)
    return c


def test_the_defaults_are_those_of_the_older_tljh(here):
    c = configured(here, "users: {admin: [alice]}")
    assert c.JupyterHub.authenticator_class is auth.FirstUseAuthenticator
    assert c.JupyterHub.spawner_class is spawner.UserSpawner
    assert c.JupyterHub.proxy_class is proxy.WatchedProxy
    assert (c.WatchedProxy.auth_token, c.WatchedProxy.should_start) == ("proxy-secret", False)
    assert c.JupyterHub.bind_url == "http://127.0.0.1:972/"
    assert c.Spawner.default_url == "/lab"
    assert c.Authenticator.admin_users == {"alice"}
    assert (c.JupyterHub.cleanup_servers, c.JupyterHub.cleanup_proxy) == (False, False)
    services = {service["name"]: service for service in c.JupyterHub.services}
    assert services["tljh-installer"]["api_token"] == "installer-secret"
    assert "user" not in services["cull-idle"], "it becomes another account by itself"
    assert "--timeout=3600" in services["cull-idle"]["command"]
    assert not [word for word in services["cull-idle"]["command"] if word.startswith("--cull-users")]
    roles = {role["name"]: role["scopes"] for role in c.JupyterHub.load_roles}
    assert sorted(roles["tljh-installer"]) == ["access:servers", "admin:servers", "admin:users", "proxy", "read:hub"]
    assert "admin:users" not in roles["cull-idle"]


@pytest.mark.parametrize(
    ("timeout", "learns", "words"), [(3600, 300, "1 hour"), (5400, 300, "90 minutes"), (600, 150, "10 minutes"), (20, 5, "20 seconds"), (1, 1, "1 second")]
)
def test_the_hub_learns_what_is_in_use_before_the_culler_looks(here, timeout, learns, words):
    c = configured(here, f"services: {{cull: {{timeout: {timeout}}}}}")
    assert (c.JupyterHub.last_activity_interval, c.UserSpawner.activity_interval) == (learns, learns)
    assert c.JupyterHub.activity_resolution <= learns
    assert c.JupyterHub.template_vars["tljh_culled_after"] == words


def test_keys_reach_the_hub(here):
    c = configured(
        here, "base_url: /course/\nlimits: {memory: 1G, cpu: 0.5}\nuser_environment: {default_app: classic}\nservices: {cull: {users: true, every: 5}}\n"
    )
    assert (c.JupyterHub.base_url, c.JupyterHub.bind_url) == ("/course/", "http://127.0.0.1:972/course/")
    assert (c.Spawner.mem_limit, c.Spawner.cpu_limit) == ("1G", 0.5)
    assert c.Spawner.default_url == "/tree"
    culler = next(service for service in c.JupyterHub.services if service["name"] == "cull-idle")
    assert {"--cull-users=True", "--cull-every=5"} <= set(culler["command"])


def test_the_culler_understands_what_it_is_told(here):
    from jupyterhub_idle_culler import IdleCuller

    c = configured(here, "services: {cull: {users: true, every: 5, timeout: 7, max_age: 11, concurrency: 3, remove_named_servers: true}}")
    command = next(service for service in c.JupyterHub.services if service["name"] == "cull-idle")["command"]
    culler = IdleCuller()
    culler.parse_command_line(command[3:])
    assert (culler.cull_users, culler.remove_named_servers) == (True, True)
    assert (culler.cull_every, culler.timeout, culler.max_age, culler.concurrency) == (5, 7, 11, 3)


def test_the_culler_can_be_off(here):
    c = configured(here, "services: {cull: {enabled: false}}")
    assert [service["name"] for service in c.JupyterHub.services] == ["tljh-installer"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("firstuseauthenticator.FirstUseAuthenticator", "FirstUseAuthenticator"),
        ("firstuse", "FirstUseAuthenticator"),
        ("native", "NativeAuthenticator"),
        ("nativeauthenticator.NativeAuthenticator", "NativeAuthenticator"),
        ("dummy", "DummyAuthenticator"),
        ("github", "GitHubOAuthenticator"),
        ("oauthenticator.github.GitHubOAuthenticator", "GitHubOAuthenticator"),
        ("ldapauthenticator.LDAPAuthenticator", "LDAPAuthenticator"),
        ("tmp", "TmpAuthenticator"),
        ("jupyterhub.auth.PAMAuthenticator", "PAMAuthenticator"),
    ],
)
def test_every_known_authenticator_is_found(name, expected):
    assert authenticator_class(name).__name__ == expected


def test_first_use_is_always_the_safe_one():
    for name in ("firstuse", "firstuseauthenticator.FirstUseAuthenticator", "FirstUseAuthenticator"):
        assert authenticator_class(name) is auth.FirstUseAuthenticator


@pytest.mark.parametrize("name", ["nosuch", "no.such.Class", "os.path", "jupyterhub.spawner.Spawner", "", "jupyterhub.auth."])
def test_what_is_no_authenticator_is_told(name):
    with pytest.raises(settings.ConfigError, match=r"auth\.type"):
        authenticator_class(name)


def test_an_unknown_authenticator_gives_way_to_the_last_good_config(here, caplog):
    here.applied.write_text("users: {admin: [alice], allowed: [bob]}")
    c = configured(here, "auth: {type: nosuch}\nusers: {admin: [alice]}")
    assert c.JupyterHub.authenticator_class is auth.FirstUseAuthenticator
    assert c.Authenticator.allowed_users == {"bob"}
    assert "CONFIG NOT USED: auth.type" in caplog.text


def test_with_no_good_config_at_all_admins_still_are(here, caplog):
    c = configured(here, "auth: {type: nosuch}\nusers: {admin: [alice], allowed: [bob]}")
    assert (c.Authenticator.admin_users, c.Authenticator.allowed_users) == ({"alice"}, {"alice"})
    c = configured(here, "users: [")
    assert c.JupyterHub.authenticator_class is auth.FirstUseAuthenticator
    assert caplog.records[0].levelno == logging.CRITICAL


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("{type: dummy, DummyAuthenticator: {password: 12345}}", "auth.DummyAuthenticator.password: must be a text, not a number"),
        ("{type: dummy, DummyAuthenticator: {password: [x]}}", "auth.DummyAuthenticator.password: must be a text, not a list"),
        ("{FirstUseAuthenticator: {create_user: true}}", "auth.FirstUseAuthenticator.create_user: the authenticator has no such option"),
        ("{FirstUseAuthenticator: {min_password_length: 0}}", "auth.FirstUseAuthenticator.min_password_length: the authenticator does not take this value"),
        ("{Authenticator: {allow_all: 3}}", "auth.Authenticator.allow_all: must be true or false, not a number"),
        ("{type: github, GitHubOAuthenticator: {allowed_organizations: {a: b}}}", "allowed_organizations: must be a list, not keys with values"),
        ("{type: github, OAuthenticator: {enable_auth_state: often}}", "auth.OAuthenticator.enable_auth_state: must be true or false, not a text"),
    ],
)
def test_a_config_with_an_option_that_is_refused_is_not_used(here, caplog, options, says):
    here.applied.write_text("users: {admin: [alice], allowed: [bob]}")
    c = configured(here, f"auth: {options}")
    assert c.JupyterHub.authenticator_class is auth.FirstUseAuthenticator
    assert c.Authenticator.allowed_users == {"bob"}
    assert says in caplog.text
    assert says in str(c.JupyterHub.template_vars["tljh_problems"])
    assert json.loads(here.problems.read_text())["using"] == "the last config that worked"


def test_with_an_option_refused_and_no_config_before_only_admins_get_in(here):
    c = configured(here, "auth: {type: dummy, DummyAuthenticator: {password: 12345}}\nusers: {admin: [alice], allowed: [bob], banned: [eve]}")
    assert c.JupyterHub.authenticator_class is auth.FirstUseAuthenticator
    assert (c.Authenticator.admin_users, c.Authenticator.allowed_users, c.Authenticator.blocked_users) == ({"alice"}, {"alice"}, {"eve", PROBE_USER})
    assert c.Authenticator.allow_existing_users is False


def test_an_authenticator_that_was_good_and_is_not_any_more(here):
    text = "auth: {type: gone.Authenticator}\nusers: {admin: [alice], allowed: [bob]}"
    here.applied.write_text(text)
    c = configured(here, text)
    assert (c.Authenticator.admin_users, c.Authenticator.allowed_users) == ({"alice"}, {"alice"})
    assert c.Authenticator.allow_existing_users is False


def test_options_of_another_class_are_told_and_do_no_harm(here, caplog):
    c = configured(here, "auth:\n  FirstUseAuthenticator: {min_password_length: 12}\n  LDAPAuthenticator: {server_address: x}\n")
    assert c.FirstUseAuthenticator == {"min_password_length": 12, "first_login": "open", "class_code": ""}
    assert "LDAPAuthenticator" not in c
    assert "auth.LDAPAuthenticator is not used" in caplog.text


def test_an_option_does_not_override_a_key(here, caplog):
    c = configured(here, "auth: {FirstUseAuthenticator: {blocked_users: [], whitelist: [eve], create_users: true}}\nusers: {banned: [eve]}")
    assert c.FirstUseAuthenticator == {"create_users": True, "first_login": "open", "class_code": ""}
    assert c.Authenticator.blocked_users == {"eve", PROBE_USER}
    assert caplog.text.count("blocked_users is not used") == 1
    assert "auth.FirstUseAuthenticator.blocked_users is not used: users.banned says it" in caplog.text


@pytest.mark.parametrize(
    ("trait", "value", "says"),
    [
        (Unicode(), 1, "must be a text, not a number"),
        (Bool(), "yes", "must be true or false, not a text"),
        (Integer(), 1.5, "must be a whole number, not a number with a fraction"),
        (Integer(), True, None),
        (Float(), 1, None),
        (Set(Unicode()), ["a"], None),
        (Set(Unicode()), [[1]], "the authenticator does not take this value"),
        (Tuple(Unicode(), Unicode()), ["a", "b"], None),
        (Dict(), {"a": 1}, None),
        (Dict(), [1], "must be keys with values, not a list"),
        (Enum(["a", "b"]), "c", "must be one of a, b"),
        (Union([Unicode(), Bool()]), 1.5, "must be a unicode string or a boolean"),
    ],
)
def test_values_that_fit_and_do_not(trait, value, says):
    owner = type("Owner", (HasTraits,), {"option": trait})
    assert misfit(owner.class_traits()["option"], value) == says


def test_options_of_the_chosen_authenticator_are_set(here):
    c = configured(
        here, "auth: {type: github, GitHubOAuthenticator: {client_id: abc, allowed_organizations: [uni]}, OAuthenticator: {enable_auth_state: true}}"
    )
    assert c.GitHubOAuthenticator == {"client_id": "abc", "allowed_organizations": ["uni"]}
    assert c.OAuthenticator.enable_auth_state is True


def test_a_hub_without_the_proxys_token_does_not_start(here):
    here.proxy_env.write_text("OTHER=1\n")
    with pytest.raises(SystemExit, match="tljh-install install"):
        configured(here, "{}")


def test_local_files_have_the_last_word_in_order(here):
    for name in ("20-b.py", "10-a.py", "notes.txt"):
        (here.config_d / name).write_text("")
    assert [path.name for path in local_files(here)] == ["10-a.py", "20-b.py"]


def test_the_whole_file_as_jupyterhub_reads_it(here, monkeypatch):
    """Every option is one that its class has, and takes the value."""
    from pathlib import Path

    from jupyterhub.app import JupyterHub

    import tljh

    here.config.write_text("users: {admin: [alice]}\nlimits: {memory: 1G, cpu: 0.5}\n")
    (here.config_d / "own.py").write_text("c.Spawner.start_timeout = 77\n")
    monkeypatch.chdir(here.state)
    JupyterHub.clear_instance()
    app = JupyterHub(log_level=logging.CRITICAL)
    app.raise_config_file_errors = True
    app.load_config_file(str(Path(tljh.__file__).parent / "jupyterhub_config.py"))
    assert app.config.Spawner.start_timeout == 77
    assert app.config.JupyterHub.spawner_class is spawner.UserSpawner
    for name, cls in {
        "JupyterHub": JupyterHub,
        "Spawner": spawner.UserSpawner,
        "UserSpawner": spawner.UserSpawner,
        "WatchedProxy": proxy.WatchedProxy,
        "Authenticator": auth.FirstUseAuthenticator,
    }.items():
        assert set(app.config[name]) <= set(cls.class_trait_names(config=True)), name


def test_pages_know_whether_origins_are_separate(here):
    assert configured(here, "hub: {user_port: 8443}").JupyterHub.template_vars["origins_separate"] is True
    assert configured(here, "").JupyterHub.template_vars["origins_separate"] is False


@pytest.mark.parametrize(
    ("said", "unit", "limit"), [("auto", "1879048192", 1879048192), ("auto", "0", None), ("auto", None, None), (None, "1879048192", None), ("2G", "1", "2G")]
)
def test_the_memory_limit_of_the_machine(monkeypatch, said, unit, limit):
    monkeypatch.delenv("TLJH_SERVER_MEMORY", raising=False)
    if unit is not None:
        monkeypatch.setenv("TLJH_SERVER_MEMORY", unit)
    assert server_memory(said) == limit


# Go's tests have the same cases (routes_test.go).
@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("CONFIGPROXY_AUTH_TOKEN=abc\n", "abc"),
        ("OTHER=x\n CONFIGPROXY_AUTH_TOKEN = abc ", "abc"),
        ('CONFIGPROXY_AUTH_TOKEN="abc"\n', "abc"),
        ("CONFIGPROXY_AUTH_TOKEN='a=c'\n", "a=c"),
        ("CONFIGPROXY_AUTH_TOKEN=\n", None),
        ("OTHER=x\n", None),
    ],
)
def test_the_token_of_the_proxy_is_read(here, text, token):
    here.proxy_env.write_text(text)
    if token is None:
        with pytest.raises(SystemExit, match="has no CONFIGPROXY_AUTH_TOKEN"):
            proxy_token(here)
    else:
        assert proxy_token(here) == token
