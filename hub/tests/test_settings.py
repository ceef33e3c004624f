import json
import os
import stat

import pytest

from tljh import settings

ASK = settings.ask  # as it is: the fixture "here" puts a stand-in for the program in its place

WHOLE = "users: {admin: [alice]}"


def test_everything_is_read():
    config = settings.of_values(
        {
            "base_url": "/course/",
            "auth": {"type": settings.FIRST_USE, "FirstUseAuthenticator": {"create_users": True}},
            "users": {"admin": ["alice"], "allowed": ["bob", "1234"], "banned": ["eve"], "extra_user_groups": {"physics": ["bob"]}, "account_prefix": ""},
            "limits": {"memory": 1 << 30, "cpu": 2},
            "services": {"cull": {"timeout": 3600, "users": True}},
            "user_environment": {"default_app": "classic", "variables": {"COURSE": "physics"}},
            "shared_folders": {"data": {"read": ["all"], "write": ["group:physics"]}},
            "hub": {"name": "N", "announcement": "A", "logo": "/l.png"},
            "network": {"http_proxy": "not the hub's"},
        }
    )
    assert config.base_url == "/course/"
    assert config.auth == settings.Auth(settings.FIRST_USE, {"FirstUseAuthenticator": {"create_users": True}})
    assert (config.users.admin, config.users.allowed, config.users.banned) == ({"alice"}, {"bob", "1234"}, {"eve"})
    assert (config.users.extra_user_groups, config.users.account_prefix, config.users.home_root) == ({"physics": ["bob"]}, "", "/home")
    assert (config.limits.memory, config.limits.cpu) == (1 << 30, 2)
    assert config.cull == settings.Cull(timeout=3600, users=True)
    assert (config.default_app, config.variables) == ("classic", {"COURSE": "physics"})
    assert config.shared_folders == {"data": settings.SharedFolder(["all"], ["group:physics"])}
    assert config.pages == settings.Pages("N", "A", "/l.png")


def test_what_is_not_said_has_its_default():
    assert settings.of_values({}) == settings.Config()


@pytest.mark.parametrize(("limits", "limit"), [({}, "auto"), ({"memory": "auto"}, "auto"), ({"memory": None}, None), ({"memory": 5}, 5)])
def test_no_memory_limit_is_said_and_not_left_out(limits, limit):
    assert settings.of_values({"limits": limits}).limits.memory == limit


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
    groups = {"small": {"memory": 2}, "large": {"memory": 4, "cpu": 0.5}, "free": {"memory": None}}
    of = settings.of_values({"limits": {"memory": 1, "cpu": 2, "groups": groups, "users": {"bob": {"cpu": None}}}}).limits.of
    assert of("memory", "alice", []) == 1
    assert (of("memory", "bob", ["small"]), of("cpu", "bob", ["small"])) == (2, None)
    assert (of("memory", "carol", ["small", "large"]), of("cpu", "carol", ["small", "large"])) == (4, 0.5)
    assert of("memory", "dan", ["large", "free"]) is None


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
    values = {"users": {"admin": ["alice"]}}
    settings.remember(here, settings.Loaded(settings.of_values(values), WHOLE, values=values))
    assert stat.S_IMODE(here.applied_values.stat().st_mode) == 0o600
    here.config.write_text("users: {admin: [eve]}")
    loaded = settings.load(here)
    assert loaded.config.users.admin == {"alice"}
    assert settings.last_good(here) == (loaded.config, WHOLE)
    assert len(loaded.problems) == 1
    assert f"cannot check {here.config}: " in loaded.problems[0]
    assert says in loaded.problems[0]
    here.config.write_text("users: {admin: [alice]}")
    loaded = settings.load(here)
    assert (loaded.config.users.admin, loaded.problems) == ({"alice"}, [])
    here.applied_values.unlink()
    assert settings.load(here).config == settings.closed()


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"sha256": 1, "config": {}}', '{"sha256": SUM}', '{"sha256": SUM, "config": []}'])
def test_kept_values_that_are_damaged_or_of_another_config_are_not_used(asked, damage):
    here = asked("exit 2")
    here.applied.write_text(WHOLE)
    here.config.write_text(WHOLE)
    here.applied_values.write_text(damage.replace("SUM", json.dumps(settings.sha256(WHOLE))))
    assert settings.load(here).config == settings.closed()
    assert settings.last_good(here) is None


@pytest.mark.parametrize(("hub", "separate"), [({}, False), ({"user_port": 0}, False), ({"user_port": 8443}, True), ({"user_domain": "u.example.org"}, True)])
def test_a_port_or_a_domain_of_their_own_separates_the_origins(hub, separate):
    assert settings.of_values({"hub": hub}).origins.separate == separate
