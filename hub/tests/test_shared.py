import os
import pwd
from pathlib import Path

import pytest

from tljh import shared
from tljh.accounts import Account
from tljh.settings import SharedFolder

FOLDERS = {
    "data": SharedFolder(read=["all"], write=["admins", "bob"]),
    "exams": SharedFolder(write=["admins"]),
    "team": SharedFolder(read=["group:course"], write=["carol", "dan"]),
}


@pytest.mark.parametrize(
    ("user", "admin", "groups", "names"),
    [
        ("alice", True, [], ["data", "exams"]),
        ("bob", False, [], ["data"]),
        ("carol", False, [], ["data", "team"]),
        ("eve", False, ["course"], ["data", "team"]),
    ],
)
def test_who_sees_what(user, admin, groups, names):
    assert shared.visible(FOLDERS, user, admin, groups) == names


def test_groups_of_single_users():
    assert shared.memberships(FOLDERS, "bob") == {"tljh-data-w": True, "tljh-team-w": False}
    assert shared.memberships(FOLDERS, "carol") == {"tljh-data-w": False, "tljh-team-w": True}


@pytest.fixture
def home(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root becomes somebody else")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    nobody = pwd.getpwnam("nobody")
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    return Account("nobody", nobody.pw_uid, nobody.pw_gid, str(home))


def links(account):
    folder = Path(account.home, "shared")
    return {entry.name: os.readlink(entry) for entry in folder.iterdir()} if folder.is_dir() else None


def test_links_come_and_go(home):
    assert shared.link(home, []) == []
    assert links(home) is None
    assert shared.link(home, ["data", "team"]) == []
    assert links(home) == {"data": "/srv/tljh/data", "team": "/srv/tljh/team"}
    assert os.lstat(Path(home.home, "shared")).st_uid == home.uid
    assert shared.link(home, ["team"]) == []
    assert links(home) == {"team": "/srv/tljh/team"}
    Path(home.home, "shared", "mine").symlink_to("/tmp")
    assert shared.link(home, []) == []
    assert links(home) == {"mine": "/tmp"}


def test_what_is_the_users_stays(home):
    folder = Path(home.home, "shared")
    folder.mkdir()
    os.chown(folder, home.uid, home.gid)
    (folder / "data").write_text("mine")
    assert "data" in shared.link(home, ["data"])[0]
    assert (folder / "data").read_text() == "mine"


def test_root_follows_no_link_of_a_user(home, tmp_path):
    trap = tmp_path / "roots"
    trap.mkdir(mode=0o700)
    Path(home.home, "shared").symlink_to(trap)
    assert shared.link(home, ["data"])
    assert list(trap.iterdir()) == []
