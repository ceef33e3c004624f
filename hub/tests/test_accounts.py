import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from tljh import accounts, names
from tljh.accounts import AccountError, mark


class Machine:
    """Accounts and groups as the commands would leave them; the commands are written down."""

    def __init__(self, monkeypatch, homes):
        self.people, self.groups, self.commands, self.homes = {}, {}, [], homes
        monkeypatch.setattr(accounts, "HOMES", homes)
        monkeypatch.setattr(accounts, "_find", self.people.get)
        monkeypatch.setattr(accounts, "_run", self.run)
        monkeypatch.setattr(accounts, "_group_exists", lambda group: group in self.groups)
        monkeypatch.setattr(accounts, "_members", lambda group: sorted(self.groups.get(group, ())))
        monkeypatch.setattr(accounts, "_uid_taken", lambda uid: any(entry.pw_uid == uid for entry in self.people.values()))

    def add(self, name, gecos="", uid=None, home=True):
        folder = self.homes / name
        if home:
            folder.mkdir(mode=0o700)
        uid = os.geteuid() if uid is None else uid
        self.people[name] = SimpleNamespace(pw_name=name, pw_gecos=gecos, pw_uid=uid, pw_gid=uid, pw_dir=str(folder))

    def run(self, *argv):
        self.commands.append(argv)
        program, *rest = argv
        if program == "useradd":
            self.add(rest[-1], rest[rest.index("--comment") + 1], home="--create-home" in rest)
        elif program == "groupadd":
            self.groups[rest[-1]] = set()
        elif program == "gpasswd":
            (self.groups[rest[2]].add if rest[0] == "--add" else self.groups[rest[2]].discard)(rest[1])
        elif program == "usermod":
            self.people[rest[-1]].pw_gecos = rest[1]


@pytest.fixture
def machine(monkeypatch, tmp_path, here):
    monkeypatch.setattr(accounts, "_FIRST_UID", 0)
    monkeypatch.setattr(accounts, "_ROOT", 4242)
    monkeypatch.setattr(accounts, "SKEL", tmp_path / "skel")
    (tmp_path / "home").mkdir()
    return Machine(monkeypatch, tmp_path / "home")


def test_an_account_is_made_once(machine):
    account = accounts.ensure("bob", False, {})
    assert account.name == "jupyter-bob"
    assert machine.groups == {"jupyterhub-users": {"jupyter-bob"}}
    (useradd, *_) = machine.commands
    assert {"--user-group", "--create-home", "HOME_MODE=0700"} <= set(useradd)
    done = len(machine.commands)
    assert accounts.ensure("bob", False, {}) == account
    assert len(machine.commands) == done


def test_admins_come_and_go(machine):
    accounts.ensure("bob", True, {})
    assert machine.groups["jupyterhub-admins"] == {"jupyter-bob"}
    accounts.ensure("bob", False, {})
    assert machine.groups["jupyterhub-admins"] == set()


def test_the_admins_group_tells_whose_its_accounts_are(machine):
    accounts.ensure("bob", True, {})
    accounts.ensure("Ünal", True, {})
    machine.add("operator", "Olga Operator")
    machine.groups["jupyterhub-admins"].add("operator")
    assert accounts.in_admins_group([]) == {"jupyter-bob": "bob", accounts.system_name("Ünal"): "Ünal"}
    # Without a prefix, accounts of the site say nothing: they are known by the name of who was an admin.
    accounts.PREFIX = ""
    try:
        assert accounts.in_admins_group(["operator", "carol"])["operator"] == "operator"
        assert "carol" not in accounts.in_admins_group(["operator", "carol"])
    finally:
        accounts.PREFIX = "jupyter-"
    accounts.leave_admins("jupyter-bob")
    assert machine.groups["jupyterhub-admins"] == {accounts.system_name("Ünal"), "operator"}
    done = len(machine.commands)
    accounts.leave_admins("jupyter-bob")
    assert len(machine.commands) == done


def test_what_runs_with_the_admins_group_is_found_and_ended(machine, monkeypatch):
    machine.add("jupyter-bob", mark("bob"), uid=os.geteuid())
    machine.groups["jupyterhub-admins"] = set()
    group = os.getegid()
    monkeypatch.setattr(accounts.grp, "getgrnam", lambda name: SimpleNamespace(gr_gid=group))
    # One that ends when it is told to, and one that has to be killed; of all that runs here, nothing else is looked at.
    polite = subprocess.Popen(["sleep", "1000"])
    ignoring = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(1000)"
    stubborn = subprocess.Popen([sys.executable, "-c", ignoring], stdout=subprocess.PIPE)
    try:
        stubborn.stdout.read(1)
        monkeypatch.setattr(accounts, "_processes", lambda: [child.pid for child in (polite, stubborn) if child.poll() is None])
        monkeypatch.setattr(accounts, "_GRACE", 0.3)
        assert sorted(accounts.with_admins_group("jupyter-bob")) == sorted([polite.pid, stubborn.pid])
        assert accounts.with_admins_group("jupyter-nobody") == []
        accounts.end_with_admins_group("jupyter-bob")
        assert (polite.wait(), stubborn.wait()) == (-15, -9)
        group = 4242
        assert accounts.with_admins_group("jupyter-bob") == []
    finally:
        for child in (polite, stubborn):
            child.kill()
            child.wait()
        stubborn.stdout.close()


def test_extra_groups_are_made(machine):
    accounts.ensure("bob", False, {"physics": ["bob"], "chemistry": ["eve"]})
    assert machine.groups["physics"] == {"jupyter-bob"}
    assert "chemistry" not in machine.groups


def test_groups_that_the_hub_made_are_noted_and_no_others(machine, here):
    machine.groups["site"] = set()
    for _ in range(2):
        accounts.ensure("bob", True, {"physics": ["bob"], "site": ["bob"]})
    assert here.groups.read_text() == "jupyterhub-users\njupyterhub-admins\nphysics\n"
    assert here.groups.stat().st_mode & 0o777 == 0o600


def test_an_account_of_another_hub_user_is_refused(machine):
    machine.add("jupyter-bob", mark("bobby"))
    with pytest.raises(AccountError, match="'bobby'"):
        accounts.ensure("bob", False, {})


def test_a_foreign_account_is_refused_with_a_way_out(machine):
    machine.add("jupyter-bob", "Bob Builder,,,")
    with pytest.raises(AccountError, match="usermod --comment 'JupyterHub user bob' jupyter-bob"):
        accounts.ensure("bob", False, {})
    machine.run("usermod", "--comment", mark("bob"), "jupyter-bob")
    assert accounts.ensure("bob", False, {}).name == "jupyter-bob"


def test_an_account_of_the_older_tljh_is_taken_over(machine):
    machine.add("jupyter-bob")
    machine.groups["jupyterhub-users"] = {"jupyter-bob"}
    accounts.ensure("bob", False, {})
    assert machine.people["jupyter-bob"].pw_gecos == mark("bob")


def test_without_its_group_no_comment_means_foreign(machine):
    machine.add("jupyter-bob")
    with pytest.raises(AccountError):
        accounts.ensure("bob", False, {})


def test_a_home_that_is_a_link_is_refused(machine, tmp_path):
    accounts.ensure("bob", False, {})
    (machine.homes / "jupyter-bob").rmdir()
    (machine.homes / "jupyter-bob").symlink_to(tmp_path)
    with pytest.raises(AccountError, match="not a folder of yours"):
        accounts.ensure("bob", False, {})


def test_a_home_that_is_roots_link_to_another_disk(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(accounts, "_ROOT", os.geteuid())
    monkeypatch.setattr(accounts, "_is_roots", lambda folder: folder == machine.homes)
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "kept").touch()
    machine.add("jupyter-bob", mark("bob"), home=False)
    home = machine.homes / "jupyter-bob"
    home.symlink_to(disk)
    assert accounts.ensure("bob", False, {}).home == str(home)
    disk.rename(tmp_path / "away")
    with pytest.raises(AccountError, match=f"leads to {disk}, which cannot be reached"):
        accounts.ensure("bob", False, {})
    (tmp_path / "away").rename(disk)
    machine.people["jupyter-bob"].pw_uid += 1
    with pytest.raises(AccountError, match="not a folder of yours"):
        accounts.ensure("bob", False, {})
    # One who writes to the folder could have made the link lead anywhere.
    machine.people["jupyter-bob"].pw_uid -= 1
    monkeypatch.setattr(accounts, "_is_roots", lambda folder: False)
    with pytest.raises(AccountError, match="not a folder of yours"):
        accounts.ensure("bob", False, {})


def test_an_account_is_made_for_a_home_that_root_linked(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(accounts, "_ROOT", os.geteuid())
    monkeypatch.setattr(accounts, "_is_roots", lambda folder: True)
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/kept").touch()
    (machine.homes / "jupyter-bob").symlink_to(tmp_path / "disk")
    accounts.ensure("bob", False, {})
    assert {"--no-create-home", "--uid", str(os.geteuid())} <= set(machine.commands[0])


def test_whether_root_alone_writes_to_a_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(accounts, "_ROOT", os.geteuid())
    monkeypatch.setattr(type(tmp_path), "parents", property(lambda self: []))
    monkeypatch.setattr(accounts.os.path, "realpath", str)
    for mode, roots in ((0o755, True), (0o775, False), (0o1777, False)):
        tmp_path.chmod(mode)
        assert accounts._is_roots(tmp_path) is roots
    monkeypatch.setattr(accounts, "_ROOT", os.geteuid() + 1)
    tmp_path.chmod(0o755)
    assert not accounts._is_roots(tmp_path)


def test_a_home_of_a_directorys_account_is_made_with_its_parents_and_skel(machine, monkeypatch):
    monkeypatch.setattr(accounts, "_is_roots", lambda folder: True)
    (accounts.SKEL / ".config").mkdir(parents=True)
    accounts.SKEL.chmod(0o755)
    (accounts.SKEL / ".bashrc").write_text("x")
    (accounts.SKEL / ".link").symlink_to("/etc/passwd")
    machine.add("jupyter-bob", mark("bob"), home=False)
    home = machine.homes / "example.org/bob"
    machine.people["jupyter-bob"].pw_dir = str(home)
    accounts.ensure("bob", False, {})
    assert home.stat().st_mode & 0o777 == 0o700
    assert home.parent.stat().st_mode & 0o777 == 0o755
    assert (home / ".bashrc").read_text() == "x"
    assert (home / ".link").readlink() == accounts.Path("/etc/passwd")
    assert (home / ".config").is_dir()


@pytest.mark.parametrize("trap", ["link", "filled"])
def test_what_was_put_into_a_homes_place_is_left_alone(machine, monkeypatch, tmp_path, trap):
    """As by somebody who may write to the folder above, between the making of a home and its filling."""
    accounts.SKEL.mkdir()
    (accounts.SKEL / ".bashrc").write_text("x")
    machine.add("jupyter-bob", mark("bob"), home=False)
    other = tmp_path / "other"
    other.mkdir(mode=0o755)
    (other / "kept").write_text("x")
    made = type(tmp_path).mkdir

    def swapped(self, *arguments, **options):
        if self.name != "jupyter-bob":
            return made(self, *arguments, **options)
        return self.symlink_to(other) if trap == "link" else other.rename(self)

    monkeypatch.setattr(type(tmp_path), "mkdir", swapped)
    with pytest.raises(accounts.AccountError, match=r"[yY]our home folder"):
        accounts.ensure("bob", False, {})
    place = other if trap == "link" else machine.homes / "jupyter-bob"
    assert [file.name for file in place.iterdir()] == ["kept"]
    assert place.stat().st_mode & 0o777 == 0o755


def test_a_very_deep_home_takes_no_descriptors_from_the_hub(monkeypatch, tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    most = 0
    real = os.open

    def counted(*arguments, **options):
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")))
        return real(*arguments, **options)

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "open", counted)
    accounts.hand_over(accounts.Account("jupyter-bob", 1001, 1001, str(tmp_path)), time.time() + 60)
    assert 0 < most - before < 200


def test_what_a_hook_left_in_a_home_becomes_the_users(monkeypatch, tmp_path):
    """Who is not root cannot give away: what is asked for is looked at."""
    home = tmp_path / "home"
    (home / "course/week1").mkdir(parents=True)
    (home / "course/week1/notes").write_text("x")
    (home / "linked").write_text("x")
    os.link(home / "linked", tmp_path / "elsewhere")
    (home / "link").symlink_to("/etc")
    os.mkfifo(home / "pipe")
    given = []
    monkeypatch.setattr(accounts, "_ROOT", os.geteuid())
    monkeypatch.setattr(accounts.os, "chown", lambda path, uid, gid: given.append((os.readlink(path), uid, gid)))
    account = accounts.Account("jupyter-bob", 1001, 1002, str(home))
    assert accounts.hand_over(account, 0) == 3
    assert sorted(given) == [(f"{home}/course{rest}", 1001, 1002) for rest in ("", "/week1", "/week1/notes")]
    assert accounts.hand_over(account, time.time() + 60) == 0, "what was there before"
    monkeypatch.setattr(accounts, "_ROOT", os.geteuid() + 1)
    assert accounts.hand_over(account, 0) == 0, "what is not root's"


def test_homes_have_the_mode_of_the_config(machine):
    machine.add("jupyter-eve", mark("eve"), home=False)
    accounts.settle("jupyter-", str(machine.homes), "0755")
    try:
        accounts.ensure("eve", False, {})
        assert (machine.homes / "jupyter-eve").stat().st_mode & 0o777 == 0o755
        accounts.ensure("bob", False, {})
        assert any("HOME_MODE=0755" in command for command in machine.commands)
        machine.homes.joinpath("jupyter-eve").chmod(0o711)
        accounts.ensure("eve", False, {})
        assert (machine.homes / "jupyter-eve").stat().st_mode & 0o777 == 0o711, "homes that are there keep their mode"
    finally:
        accounts.HOME_MODE = 0o700


def test_a_home_elsewhere_is_made_only_where_its_folder_is(machine, tmp_path):
    machine.add("jupyter-bob", mark("bob"), home=False)
    machine.people["jupyter-bob"].pw_dir = str(tmp_path / "nonexistent/bob")
    with pytest.raises(AccountError, match="cannot be made: No such file"):
        accounts.ensure("bob", False, {})
    assert not (tmp_path / "nonexistent").exists()


def test_nothing_is_made_below_a_disk_that_is_not_mounted(tmp_path):
    table = tmp_path / "fstab"
    place = tmp_path / "my disk"
    (tmp_path / "home").symlink_to(place)
    table.write_text(
        f"# /dev/sda2 {tmp_path} ext4\n\nUUID=1 / ext4 defaults 0 1\n/swap none swap sw 0 0\nUUID=2 {place}".replace("my disk", "my\\040disk") + " ext4\n"
    )
    for home in (place / "bob", tmp_path / "home/bob"):
        with pytest.raises(AccountError, match=f"not mounted at {place}. .*mount {place}"):
            accounts._check_mounted(home, table)
    accounts._check_mounted(tmp_path / "other", table)
    accounts._check_mounted(place, tmp_path / "no table")


def test_without_a_prefix_a_name_of_a_directory_means_that_account(machine):
    machine.add("dana@example.org", "Dana Doe")
    assert accounts.system_name("dana@example.org") == names.system_name("dana@example.org")
    accounts.PREFIX = ""
    try:
        assert accounts.ensure("dana@example.org", False, {}).name == "dana@example.org"
        assert accounts.exists("dana@example.org")
        assert not any(command[0] == "useradd" for command in machine.commands)
        assert accounts.system_name("eve@example.org") == "eve__40example.org"
    finally:
        accounts.PREFIX = "jupyter-"


@pytest.mark.parametrize("name", ["a\0b", "\udc80", "ü@x"])
def test_names_that_no_account_has(name):
    assert accounts._find(name) is None


def test_a_home_that_is_gone_is_made_again(machine):
    accounts.ensure("bob", False, {})
    (machine.homes / "jupyter-bob").rmdir()
    accounts.ensure("bob", False, {})
    assert (machine.homes / "jupyter-bob").stat().st_mode & 0o777 == 0o700


def test_a_home_without_account_is_taken_up_again_by_its_number(machine):
    (machine.homes / "jupyter-bob").mkdir()
    accounts.ensure("bob", False, {})
    assert {"--no-create-home", "--uid", str(os.geteuid())} <= set(machine.commands[0])


@pytest.mark.parametrize("account", [False, True])
def test_an_empty_home_that_root_prepared_becomes_its_users(machine, tmp_path, monkeypatch, account):
    """As the top of a file system for each user is, before or after their account is made, perhaps behind a link of root's."""
    monkeypatch.setattr(accounts, "_ROOT", os.geteuid())
    monkeypatch.setattr(accounts, "_FIRST_UID", os.geteuid() + 1)
    monkeypatch.setattr(accounts, "_is_roots", lambda folder: True)
    given = []
    monkeypatch.setattr(accounts.os, "chown", lambda name, uid, gid, **_: given.append(name))
    monkeypatch.setattr(accounts.os, "fchown", lambda opened, uid, gid: given.append(os.readlink(f"/proc/self/fd/{opened}")))
    (accounts.SKEL / ".config").mkdir(parents=True)
    disk = tmp_path / "disk"
    for name, place in {"bob": machine.homes / "jupyter-bob", "eve": disk}.items():
        (place / "lost+found").mkdir(parents=True)
        place.chmod(0o755)
        if place == disk:
            (machine.homes / f"jupyter-{name}").symlink_to(disk)
        if account:
            machine.add(f"jupyter-{name}", mark(name), home=False, uid=os.geteuid() + 7)
        given.clear()
        accounts.ensure(name, False, {})
        assert given == [".config", str(place)], "all but lost+found"
        assert place.stat().st_mode & 0o777 == 0o700


def test_a_home_that_others_own_is_told_with_a_way_out(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(accounts, "_ROOT", os.geteuid())
    monkeypatch.setattr(accounts, "_is_roots", lambda folder: True)
    monkeypatch.setattr(accounts, "_FIRST_UID", os.geteuid() + 1)

    def refused(home):
        machine.people["jupyter-bob"].pw_dir = str(home)
        with pytest.raises(AccountError) as error:
            accounts.ensure("bob", False, {})
        return str(error.value)

    machine.add("jupyter-bob", mark("bob"), home=False, uid=os.geteuid() + 7)
    home = machine.homes / "jupyter-bob"
    home.mkdir()
    (home / "kept").touch()
    assert refused(home).endswith(f"Root can hand it over: chown -R --no-dereference jupyter-bob: {home}")
    assert refused("/").endswith(f"Root can give the account another: usermod --home {home} jupyter-bob")
    assert refused(machine.homes).endswith(f"usermod --home {home} jupyter-bob")
    assert refused(home / "kept").endswith(f"mv {home}/kept {home}/kept.old")
    assert f"install -d -m 0700 -o jupyter-bob -g {os.geteuid() + 7} {tmp_path}/none/bob" in refused(tmp_path / "none/bob")
    del machine.people["jupyter-bob"]
    with pytest.raises(AccountError, match=f"mv {home} {home}.old"):
        accounts.ensure("bob", False, {})


def test_a_home_that_cannot_be_filled_is_told_in_one_sentence(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(accounts, "_ROOT", os.geteuid())
    monkeypatch.setattr(accounts, "_is_roots", lambda folder: True)
    many = [(name, name, f"[Errno 30] Read-only file system: '{name}'") for name in ("a", "b")]
    monkeypatch.setattr(accounts.shutil, "copytree", lambda *_, **__: (_ for _ in ()).throw(accounts.shutil.Error(many)))
    accounts.SKEL.mkdir()
    (tmp_path / "disk").mkdir()
    (machine.homes / "jupyter-bob").symlink_to(tmp_path / "disk")
    machine.add("jupyter-bob", mark("bob"), home=False, uid=os.geteuid() + 7)
    with pytest.raises(AccountError) as error:
        accounts.ensure("bob", False, {})
    assert "Read-only file system: 'a'. " in str(error.value)
    assert str(error.value).endswith(f"chown -R --no-dereference jupyter-bob: {tmp_path}/disk")


def test_a_second_name_of_roots_is_no_users_account(machine, monkeypatch):
    monkeypatch.setattr(accounts, "_FIRST_UID", 1000)
    machine.add("jupyter-bob", mark("bob"), uid=0)
    with pytest.raises(AccountError, match="one of the system's own"):
        accounts.ensure("bob", False, {})


def test_a_home_of_somebody_else_is_refused(machine):
    machine.add("jupyter-eve", mark("eve"))
    (machine.homes / "jupyter-bob").mkdir()
    with pytest.raises(AccountError, match="belongs to somebody else"):
        accounts.ensure("bob", False, {})
    assert machine.commands == []


def test_who_was_here_before_is_known_by_account_or_home(machine):
    assert not accounts.exists("bob")
    (machine.homes / "jupyter-bob").mkdir()
    assert accounts.exists("bob")
    machine.add("jupyter-eve", mark("eve"), home=False)
    assert accounts.exists("eve")


@pytest.mark.parametrize("name", ["a:b", "a,b", "a\nb", "ü", "%", "a&b", "\udc80"])
def test_the_mark_holds_any_name_in_what_a_comment_may_hold(name):
    text = mark(name)
    assert text.isascii()
    assert not set(text) & set(":,\n&=")


def test_a_command_that_fails_is_told_in_words():
    with pytest.raises(AccountError, match=r"Your account cannot be prepared: ls: .*nosuch"):
        accounts._run("ls", "/nosuch")
    with pytest.raises(AccountError, match="cannot be prepared"):
        accounts._run("/nosuch/program")


def test_a_locked_account_file_is_waited_for(tmp_path):
    script = tmp_path / "busy"
    script.write_text(
        f"#!/bin/sh\n[ -e {tmp_path}/second ] && exit 0\ntouch {tmp_path}/second\necho 'useradd: cannot lock /etc/passwd; try again later.' >&2\nexit 1\n"
    )
    script.chmod(0o755)
    accounts._run(str(script))
