import json
import os
import stat

import pytest

from tljh import configure, settings

ASK = settings.ask  # as it is: the fixture "here" puts a stand-in for the program in its place

WHOLE = """
base_url: course
auth:
  type: firstuseauthenticator.FirstUseAuthenticator
  FirstUseAuthenticator: {create_users: true}
users:
  admin: [Alice]
  allowed: [bob, 1234]
  banned: [eve]
  extra_user_groups: {physics: [Bob]}
limits: {memory: 1G, cpu: 2}
http: {port: 8080}
services: {cull: {timeout: 3600, users: true}}
user_environment: {default_app: classic}
"""


def test_everything_is_read():
    config = settings.parse(WHOLE)
    assert config.base_url == "/course/"
    assert config.auth.options == {"FirstUseAuthenticator": {"create_users": True}}
    assert (config.users.admin, config.users.allowed, config.users.banned) == ({"alice"}, {"bob", "1234"}, {"eve"})
    assert config.users.extra_user_groups == {"physics": ["bob"]}
    assert (config.limits.memory, config.limits.cpu) == ("1G", 2.0)
    assert config.cull == settings.Cull(timeout=3600, users=True)
    assert config.default_app == "classic"


@pytest.mark.parametrize("text", ["", "{}", "users:\n", "users: {allowed: }\nlimits:\n  cpu:\n"])
def test_what_is_empty_means_the_defaults(text):
    assert settings.parse(text) == settings.Config()


@pytest.mark.parametrize(
    ("text", "limit"), [("{}", "auto"), ("limits: {memory: auto}", "auto"), ("limits: {memory: null}", None), ("limits: {memory: 2G}", "2G")]
)
def test_no_memory_limit_is_said_and_not_left_out(text, limit):
    assert settings.parse(text).limits.memory == limit


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("users: [alice]", "users"),
        ("users: {admin: alice}", "users.admin"),
        ("users: {allowed: [[a]]}", "users.allowed"),
        ("users: {allowed: [true]}", "users.allowed"),
        ("users: {extra_user_groups: {g: bob}}", "users.extra_user_groups.g"),
        ("limits: {memory: lots}", "limits.memory"),
        ("limits: {memory: -1}", "limits.memory"),
        ("limits: {memory: nanG}", "limits.memory"),
        ("limits: {cpu: fast}", "limits.cpu"),
        ("limits: {cpu: 0}", "limits.cpu"),
        ("limits: {cpu: .inf}", "limits.cpu"),
        ("services: {cull: {timeout: soon}}", "services.cull.timeout"),
        ("services: {cull: {users: 1}}", "services.cull.users"),
        ("auth: {type: [x]}", "auth.type"),
        ("auth: {FirstUseAuthenticator: 3}", "auth.FirstUseAuthenticator"),
        ("base_url: 3", "base_url"),
        ("- a list", "the file"),
        ("1: x", "the file"),
    ],
)
def test_mistakes_name_their_key(text, where):
    with pytest.raises(settings.ConfigError, match=where):
        settings.parse(text)


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\x00", "!!python/object:os.system {}", "&a [*a", "[" * 3000, "a: 2024-99-99"])
def test_what_is_no_yaml_is_told(text):
    with pytest.raises(settings.ConfigError):
        settings.parse(text)


def test_a_good_config_is_remembered_for_root_alone(here):
    here.config.write_text(WHOLE)
    loaded = settings.load(here)
    assert loaded.problems == []
    settings.remember(here, loaded)
    assert here.applied.read_text() == WHOLE
    assert stat.S_IMODE(here.applied.stat().st_mode) == 0o600
    before = here.applied.stat().st_ino
    settings.remember(here, settings.load(here))
    assert here.applied.stat().st_ino == before


def test_an_emptied_config_gives_way_to_the_last_good_one(here):
    here.config.write_text("\n")
    assert settings.load(here).problems == [], "there was none before"
    here.applied.write_text("users: {admin: [alice]}")
    loaded = settings.load(here)
    assert loaded.config.users.admin == {"alice"}
    assert loaded.problems == [f"{here.config} is empty"]
    here.config.write_text("{}\n")
    assert settings.load(here).problems == []


def test_a_broken_config_gives_way_to_the_last_good_one(here):
    here.applied.write_text("users: {admin: [alice]}")
    here.config.write_text("users: [")
    loaded = settings.load(here)
    assert loaded.config.users.admin == {"alice"}
    assert len(loaded.problems) == 1
    assert str(here.config) in loaded.problems[0]
    settings.remember(here, loaded)
    assert here.applied.read_text() == "users: {admin: [alice]}"


def test_with_nothing_usable_there_are_defaults_and_words(here):
    here.config.write_text("users: [")
    here.applied.write_bytes(b"\xff\xff")
    loaded = settings.load(here)
    assert loaded.config == settings.closed()
    assert not loaded.config.users.existing
    assert len(loaded.problems) == 2
    settings.remember(here, loaded)
    assert here.applied.read_bytes() == b"\xff\xff"


def test_a_failed_write_leaves_the_old_copy(here, monkeypatch):
    here.applied.write_text("old: 1")
    monkeypatch.setattr(os, "replace", lambda *args: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        settings.remember(here, settings.Loaded(settings.Config(), "new: 1"))
    assert here.applied.read_text() == "old: 1"
    assert [path.name for path in here.state.iterdir() if "applied" in path.name] == ["config.applied.yaml"]


def test_the_most_specific_limit_holds():
    config = settings.parse(
        "limits: {memory: 1G, cpu: 2, groups: {small: {memory: 2G}, large: {memory: 4096M, cpu: 0.5}, free: {memory: null}}, users: {Bob: {cpu: null}}}"
    )
    of = config.limits.of
    assert of("memory", "alice", []) == "1G"
    assert (of("memory", "bob", ["small"]), of("cpu", "bob", ["small"])) == ("2G", None)
    assert (of("memory", "carol", ["small", "large"]), of("cpu", "carol", ["small", "large"])) == ("4096M", 0.5)
    assert of("memory", "dan", ["large", "free"]) is None


def test_the_newer_keys():
    config = settings.parse(
        "users: {account_prefix: '', home_root: /srv/homes, home_mode: '0755'}\n"
        "user_environment: {variables: {COURSE: physics}}\n"
        "shared_folders: {data: {read: [all], write: ['group:Course', Bob]}}\n"
        "hub: {name: N, announcement: A, logo: /l.png}\n"
        "https: {enabled: true}\nsources: {index: x}\ntraefik_api: {port: 1}\n"
    )
    assert (config.users.account_prefix, config.users.home_root, config.users.home_mode) == ("", "/srv/homes", "0755")
    assert config.variables == {"COURSE": "physics"}
    assert config.shared_folders["data"].write == ["group:Course", "bob"]
    assert config.pages == settings.Pages("N", "A", "/l.png")


@pytest.mark.parametrize(
    "text", ["users: {home_root: homes}", "user_environment: {variables: {A: 1}}", "shared_folders: {a: [x]}", "limits: {users: {a: {memory: x}}}"]
)
def test_newer_keys_that_cannot_be_used(text):
    with pytest.raises(settings.ConfigError):
        settings.parse(text)


SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f'auth:\n  GitHubOAuthenticator:\n    client_secret: "{SECRET}\n',
        f"auth: {{GitHubOAuthenticator: {{client_secret: [{SECRET}}}}}",
        f"user_environment: {{variables: {{TOKEN: [{SECRET}]}}}}",
        f"user_environment: {{variables: {{TOKEN: {{a: {SECRET}}}}}}}",
        f"limits: {{memory: {SECRET}}}",
        f"users: {{home_root: {SECRET}}}",
        f"a: *{SECRET}",
        f"a: !{SECRET} b",
        f"{SECRET}: [",
    ],
    ids=lambda _: "text",  # the folder of a test has its name
)
def test_no_value_is_told(here, text, caplog):
    with pytest.raises(settings.ConfigError) as caught:
        settings.parse(text)
    assert SECRET not in str(caught.value)
    here.config.write_text(text)
    loaded = settings.load(here)
    configure.report(loaded)
    assert loaded.problems
    assert SECRET not in caplog.text + str(loaded.problems)


@pytest.fixture
def asked(here, monkeypatch):
    """A folder in which a real program is asked, which a test writes."""
    monkeypatch.setattr(settings, "ask", ASK)
    monkeypatch.setattr(settings, "PATIENCE", 0.5)
    here.program.parent.mkdir()

    def write(*lines):
        here.program.write_text("\n".join(("#!/bin/sh", *lines, "")))
        here.program.chmod(0o755)
        return here

    return write


def test_the_program_says_what_a_config_holds(asked):
    here = asked("""[ "$*" = "config for-hub" ] && grep -q odd && echo '{"valid": true, "problems": [], "config": {"users": {"admin": ["alice"]}}}'""")
    here.config.write_text("anything odd")
    loaded = settings.load(here)
    assert (loaded.config.users.admin, loaded.problems) == ({"alice"}, [])
    settings.remember(here, loaded)
    assert here.applied.read_text() == "anything odd"


def test_what_the_program_refuses_is_not_used_whatever_the_hub_makes_of_it(asked):
    here = asked(
        """if grep -q bannd; then echo '{"valid": false, "problems": ["line 1: no bannd", "line 2: no"]}'""",
        """else echo '{"valid": true, "problems": [], "config": {"users": {"banned": ["eve"]}}}'; fi""",
    )
    here.config.write_text("users: {bannd: [eve]}")
    here.applied.write_text("users: {banned: [eve]}")
    loaded = settings.load(here)
    assert loaded.config.users.banned == {"eve"}
    assert loaded.problems == [f"{here.config} is not valid: line 1: no bannd", f"{here.config} is not valid: line 2: no"]
    settings.tell(here, loaded)
    assert json.loads(here.problems.read_text())["problems"] == loaded.problems
    assert stat.S_IMODE(here.problems.stat().st_mode) == 0o600
    settings.tell(here, settings.Loaded(settings.Config(), ""))
    assert not here.problems.exists()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 2", "exit code 2"),
        ("echo nonsense", "an answer that cannot be read"),
        ("""echo '{"valid": true}'""", "an answer that cannot be read"),
        ("""echo '{"valid": "yes", "config": {}}'""", "an answer that cannot be read"),
        ("echo []", "an answer that cannot be read"),
        ("exec sleep 60", "no answer within"),
        (None, "No such file"),
    ],
)
def test_without_an_answer_only_what_was_good_before_is_used(asked, script, says):
    here = asked(script or "")
    if script is None:
        here.program.unlink()
    here.applied.write_text("users: {admin: [alice]}")
    here.config.write_text("users: {admin: [eve]}")
    loaded = settings.load(here)
    assert loaded.config.users.admin == {"alice"}
    assert len(loaded.problems) == 1
    assert f"cannot check {here.config}: " in loaded.problems[0]
    assert says in loaded.problems[0]
    here.config.write_text("users: {admin: [alice]}")
    loaded = settings.load(here)
    assert (loaded.config.users.admin, loaded.problems) == ({"alice"}, [])
    here.applied.unlink()
    assert settings.load(here).config == settings.closed()


@pytest.mark.parametrize(
    ("text", "separate"), [("", False), ("hub: {user_port: 0}", False), ("hub: {user_port: 8443}", True), ("hub: {user_domain: Users.example.org}", True)]
)
def test_a_port_or_a_domain_of_their_own_separates_the_origins(text, separate):
    assert settings.parse(text).origins.separate == separate
