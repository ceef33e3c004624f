import json
import os
import resource
import stat
import time
from types import SimpleNamespace

import pytest
from traitlets.config import Config

from tljh import machine, paths, rescue, spawner, systemd, variables
from tljh.accounts import Account
from tljh.spawner import UserSpawner

ACCOUNT = Account("jupyter-bob", 1001, 1001, "/home/jupyter-bob")


def make(monkeypatch, admin=False, version=252, name="bob", **options):
    monkeypatch.setattr(spawner, "get_systemd_version", lambda: version)
    config = Config()
    for key, value in options.items():
        config.UserSpawner[key] = value
    made = UserSpawner(config=config, _mock=True, user=SimpleNamespace(name=name, admin=admin, id=1, url="/user/x/"))
    made.unit_name = spawner.unit_name(name)
    return made


def properties(made):
    return dict(made._properties(ACCOUNT))


def test_a_student_is_confined_and_an_admin_can_use_sudo(monkeypatch):
    student, admin = properties(make(monkeypatch)), properties(make(monkeypatch, admin=True))
    assert student["NoNewPrivileges"] == student["PrivateDevices"] == student["RestrictNamespaces"] == "yes"
    assert "@mount" in student["SystemCallFilter"]
    assert not set(spawner.CONFINED) & set(admin)
    for both in (student, admin):
        assert (both["PrivateTmp"], both["ProtectProc"], both["Slice"], both["OOMPolicy"]) == ("yes", "invisible", "tljh-users.slice", "continue")
        assert (both["User"], both["Group"], both["Type"]) == ("1001", "1001", "exec")
        assert (both["Wants"], both["After"]) == ("tljh-firewall.service", "tljh-firewall.service"), "ports are closed before the server starts"


def test_a_student_does_not_reach_the_systems_bus(monkeypatch):
    for options in ({}, {"allow_namespaces": True}, {"allow_devices": "none"}):
        assert properties(make(monkeypatch, **options))["InaccessiblePaths"] == "-/run/dbus/system_bus_socket"
    assert "InaccessiblePaths" not in properties(make(monkeypatch, admin=True))


def test_namespaces_are_given_by_a_key(monkeypatch):
    student = properties(make(monkeypatch, allow_namespaces=True))
    assert "RestrictNamespaces" not in student
    assert "@mount" not in student["SystemCallFilter"]
    assert student["NoNewPrivileges"] == "yes"


def test_setgid_is_given_by_a_key(monkeypatch):
    assert properties(make(monkeypatch))["RestrictSUIDSGID"] == "yes"
    student = properties(make(monkeypatch, allow_setgid=True))
    assert "RestrictSUIDSGID" not in student
    assert student["NoNewPrivileges"] == "yes"


SEES = {"PrivateDevices": "no", "DevicePolicy": "closed", "DeviceAllow": "/dev/kfd rw"}
NOTHING = {"PrivateDevices": "yes", "DevicePolicy": None, "DeviceAllow": None}
EVERYTHING = {"PrivateDevices": "no", "DevicePolicy": None, "DeviceAllow": None}


@pytest.mark.parametrize(
    ("there", "options", "wanted"),
    [
        (["/dev/kfd"], {}, SEES),
        ([], {}, NOTHING),
        (["/dev/kfd"], {"isolate_devices": True}, NOTHING),
        (["/dev/kfd"], {"isolate_devices": False}, EVERYTHING),
        (["/dev/kfd"], {"admin": True}, EVERYTHING | {"PrivateDevices": None}),
    ],
)
def test_a_student_sees_the_devices_that_are_for_students(monkeypatch, there, options, wanted):
    monkeypatch.setattr(spawner.devices, "choose", lambda *_: spawner.devices.Choice(there))
    got = properties(make(monkeypatch, **options))
    assert {key: got.get(key) for key in wanted} == wanted


def test_a_device_that_is_named_and_closed_is_told(monkeypatch, caplog):
    monkeypatch.setattr(spawner.devices, "choose", lambda *_: spawner.devices.Choice([], ["/dev/null"]))
    made = make(monkeypatch, allow_devices=["/dev/null"])
    made.log.propagate = True
    assert properties(made)["PrivateDevices"] == "yes"
    assert "/dev/null" in caplog.text
    assert "users.extra_user_groups" in caplog.text


@pytest.mark.parametrize(
    ("options", "there", "guarded"), [({}, True, True), ({}, False, False), ({"own_extensions": True}, True, False), ({"cmd": ["/own"]}, True, False)]
)
def test_a_server_that_runs_trusted_code_is_closed_from_its_first_moment(monkeypatch, options, there, guarded):
    monkeypatch.setattr(spawner.machine, "has_capability", lambda bit: there)
    for admin in (False, True):
        got = properties(make(monkeypatch, admin=admin, **({"cmd": ["/e/bin/jupyterhub-singleuser"]} | options)))
        assert got.get("AmbientCapabilities") == ("CAP_NET_BROADCAST" if guarded else None)
        assert got.get("CapabilityBoundingSet") == (None if admin else "CAP_NET_BROADCAST" if guarded else "")


@pytest.mark.parametrize(("limit", "size"), [("1G", str(1 << 29)), (None, "50%")])
def test_each_server_has_a_shared_memory_of_its_own(monkeypatch, limit, size):
    got = properties(make(monkeypatch, mem_limit=limit))
    assert got["TemporaryFileSystem"].endswith(f",size={size}")
    assert got["PrivateIPC"] == "yes"


def test_an_older_systemd_gets_only_what_it_knows(monkeypatch):
    assert not {"ProtectProc", "PrivateIPC"} & set(properties(make(monkeypatch, version=245)))


@pytest.mark.parametrize(("cpu", "quota"), [(0.5, "50%"), (2.0, "200%"), (0.29, "29%"), (0.001, "1%"), (None, None)])
def test_limits(monkeypatch, cpu, quota):
    got = properties(make(monkeypatch, mem_limit="1G", cpu_limit=cpu))
    assert got["MemoryMax"] == str(1 << 30)
    assert got.get("CPUQuota") == quota
    assert "MemoryMax" not in properties(make(monkeypatch))


def test_own_properties_have_the_last_word(monkeypatch):
    made = make(monkeypatch, unit_extra_properties={"TasksMax": "9", "BindPaths": ["/a", "/home/{USERNAME}/b"]})
    got = made._properties(ACCOUNT)
    assert ("TasksMax", "9") in got
    assert [value for key, value in got if key == "BindPaths"] == ["/a", "/home/jupyter-bob/b"]
    assert made.unit_extra_properties["BindPaths"][1] == "/home/{USERNAME}/b"


def test_the_hubs_environment_stays_with_the_hub(monkeypatch):
    monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", "secret")
    monkeypatch.setenv("PATH", "/hub/bin")
    made = make(monkeypatch, extra_paths=["/opt/tljh/user/bin"])
    monkeypatch.setattr(spawner.Spawner, "get_env", lambda self: {"JUPYTERHUB_API_TOKEN": "own"})
    monkeypatch.setattr(UserSpawner, "server", None)
    env = made.get_env()
    assert env["PATH"].startswith("/opt/tljh/user/bin:/usr/local/sbin:")
    assert "secret" not in env.values()
    made._account = ACCOUNT
    assert made.get_env()["PATH"] == f"{env['PATH']}:{ACCOUNT.home}/.local/bin", "what users install takes the place of no other program"
    assert env["JUPYTERHUB_SERVICE_URL"] == "http+unix://%2Frun%2Ftljh%2Fsockets%2Fjupyter-bob%2Fserver.sock/"


OF_THE_NETWORK = [name for name, (_, by) in variables.TABLE.items() if by.startswith(("network.", "sources."))]


def network(monkeypatch, tmp_path, text):
    """What the installer wrote down for servers."""
    monkeypatch.setenv("TLJH_ROOT", str(tmp_path))
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state/servers.json").write_text(text if isinstance(text, str) else json.dumps(text))


def everything(monkeypatch, tmp_path, **options):
    """A server with all that may be set for it."""
    network(monkeypatch, tmp_path, dict.fromkeys(OF_THE_NETWORK, "/site"))
    monkeypatch.setattr(UserSpawner, "server", None)
    monkeypatch.setenv("LANG", "C.UTF-8")
    prefix = tmp_path / "user"
    for name in ("conda-meta/history", "bin/jupyterhub-singleuser"):
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).touch(mode=0o755)
    (tmp_path / "kernels/all/kernels").mkdir(parents=True, exist_ok=True)
    options |= {"extra_paths": ["/x"]}
    limits = {"mem_limit": "1G", "mem_guarantee": "1G", "cpu_limit": 1.0, "cpu_guarantee": 1.0}
    made = make(monkeypatch, cmd=[str(prefix / "bin/jupyterhub-singleuser")], env_keep=["LANG"], rescue_environment="/rescue", **limits, **options)
    made.hub = SimpleNamespace(public_host="", api_url="http://127.0.0.1:971/hub/api", base_url="/hub/")
    made.api_token, made.oauth_client_id = "token", "bob"
    return made


# What systemd gives to a unit that runs as a user, whose versions differ.
OF_SYSTEMD = {
    *("HOME", "USER", "LOGNAME", "SHELL", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"),
    *("MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"),
}


def test_each_variable_that_a_server_gets_is_in_the_table(monkeypatch, tmp_path):
    made = everything(monkeypatch, tmp_path)
    found = set(OF_SYSTEMD)
    for way in (rescue.USUAL, rescue.Way(safe=True), rescue.Way(rescue=True), rescue.Way(safe=True, rescue=True)):
        found |= made._environment(way).keys()
    named = {name for name in found if not name.startswith(variables.PREFIXES)}
    assert named <= variables.TABLE.keys()
    assert variables.TABLE.keys() - named == {"PYTHONHOME", "PYTHONPATH"}, "the table has what no server gets"
    assert {name for name in variables.FIXED if not name.startswith(variables.PREFIXES)} <= variables.TABLE.keys()


@pytest.mark.parametrize("name", sorted(name for name, (what, _) in variables.TABLE.items() if what != variables.REFUSED))
def test_a_variable_that_is_taken_reaches_the_server(monkeypatch, tmp_path, name):
    got = everything(monkeypatch, tmp_path, variables={name: "/admins"})._environment(rescue.USUAL)[name]
    assert got == "/admins" if variables.TABLE[name][0] == variables.HONOURED else "/admins" in got.split(":")


def test_a_server_gets_the_networks_proxy_unless_admins_say_otherwise(monkeypatch, tmp_path):
    monkeypatch.setattr(UserSpawner, "server", None)
    monkeypatch.setenv("https_proxy", "http://of-the-hub:1")
    site = {"https_proxy": "http://p:1", "HTTPS_PROXY": "http://p:1", "http_proxy": "http://p:1", "HTTP_PROXY": "http://p:1", "PIP_INDEX_URL": "https://i"}

    def got(**options):
        made = make(monkeypatch, **options)
        monkeypatch.setattr(spawner.Spawner, "get_env", lambda self: dict(self.environment))
        return {name: value for name, value in made.get_env().items() if name in site}

    assert got() == {}, "of the hub's own environment nothing is for users"
    network(monkeypatch, tmp_path, site)
    assert got() == site
    plain = {name: site[name] for name in ("http_proxy", "HTTP_PROXY", "PIP_INDEX_URL")}
    assert got(variables={"https_proxy": "http://own:1"}) == plain | {"https_proxy": "http://own:1"}, "not one in small and another in capital letters"
    assert got(environment={"HTTPS_PROXY": ""}) == plain | {"HTTPS_PROXY": ""}
    for broken in ("{", "[1]", '"x"', ""):
        network(monkeypatch, tmp_path, broken)
        assert got() == {}, broken


def test_what_the_environment_brings(monkeypatch, tmp_path):
    monkeypatch.setattr(spawner.Spawner, "get_env", lambda self: {"JUPYTER_PATH": "/own"})
    monkeypatch.setattr(UserSpawner, "server", None)
    program = tmp_path / "user/bin/jupyterhub-singleuser"
    made = make(monkeypatch, cmd=[str(program)], extra_user_groups={"stats": ["bob"], "other": ["eve"]})
    assert "CONDA_PREFIX" not in made.get_env()
    assert made._starter() == []

    files = ["user/conda-meta/history", "user/etc/tljh/start"]
    for name in [*files, "kernels/all/kernels/r/x", "kernels/group-stats/kernels/s/x", "kernels/group-other/kernels/o/x"]:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch(mode=0o755)
    env = made.get_env()
    assert env["CONDA_PREFIX"] == str(tmp_path / "user")
    assert env["JUPYTER_PATH"].split(":") == [str(tmp_path / "kernels/all"), str(tmp_path / "kernels/group-stats"), "/own"]
    assert made._starter() == [str(tmp_path / "user/etc/tljh/start")]


@pytest.mark.parametrize(("memory", "own", "bound"), [(True, True, True), (False, True, False), (True, False, False)])
def test_temporary_files_are_no_memory_of_all(monkeypatch, tmp_path, memory, own, bound):
    monkeypatch.setattr(machine, "is_in_memory", lambda folder: memory)
    account = Account("jupyter-bob", 1001, 1001, str(tmp_path / "jupyter-bob"))
    made = make(monkeypatch, isolate_tmp=own)
    made._account = account
    made._make_tmp(account)
    folder = tmp_path / ".tljh-tmp" / made.unit_name
    assert folder.is_dir() is bound
    assert properties(made).get("BindPaths") == (f"{folder}:/tmp" if bound else None)
    if bound:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        (folder / "left").touch()
        made._make_tmp(account)
    made._remove_tmp()
    assert not folder.exists()


def test_very_deep_temporary_files_are_removed(monkeypatch, tmp_path):
    """The hub has descriptors for less than half of these folders."""
    monkeypatch.setattr(machine, "is_in_memory", lambda folder: True)
    account = Account("jupyter-bob", 1001, 1001, str(tmp_path / "jupyter-bob"))
    made = make(monkeypatch)
    made._account = account
    made._make_tmp(account)
    folder = os.open(made._tmp, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
    try:
        made._remove_tmp()
        assert not made._tmp.exists(), "the next server has a folder of its own at once"
        deadline = time.monotonic() + 30
        while any(made._tmp.parent.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert list(made._tmp.parent.iterdir()) == []


def test_temporary_files_of_a_name_that_begins_alike_stay(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "is_in_memory", lambda folder: True)
    made = make(monkeypatch)
    made._account = Account("jupyter-bob", 1001, 1001, str(tmp_path / "jupyter-bob"))
    made._make_tmp(made._account)
    other = made._tmp.with_name(f"{made.unit_name}.b.service")  # of the user bob.service.b
    other.mkdir()
    made._remove_tmp()
    for program in [*made._removals.values()]:
        program.wait(30)
    assert list(other.parent.iterdir()) == [other]


@pytest.mark.parametrize("trap", ["link", "file"])
def test_temporary_files_go_nowhere_else(monkeypatch, tmp_path, trap):
    monkeypatch.setattr(machine, "is_in_memory", lambda folder: True)
    (tmp_path / "elsewhere").mkdir()
    if trap == "link":
        (tmp_path / ".tljh-tmp").symlink_to("elsewhere")
    else:
        (tmp_path / ".tljh-tmp").touch()
    made = make(monkeypatch)
    (tmp_path / "elsewhere" / made.unit_name).mkdir()
    made._account = Account("jupyter-bob", 1001, 1001, str(tmp_path / "jupyter-bob"))
    made._make_tmp(made._account)
    assert made._tmp is None
    made._remove_tmp()
    (tmp_path / "elsewhere" / made.unit_name).rmdir()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(("properties", "own"), [({}, True), ({"PrivateTmp": True}, True), ({"PrivateTmp": "no"}, False)])
def test_kernels_talk_over_sockets_in_a_tmp_of_their_own(monkeypatch, properties, own):
    made = make(monkeypatch, unit_extra_properties=properties)
    monkeypatch.setattr(spawner.Spawner, "get_env", lambda self: {})
    monkeypatch.setattr(spawner.Spawner, "get_args", lambda self: ["--chosen"])
    monkeypatch.setattr(UserSpawner, "server", None)
    arguments = made._arguments()
    assert ("--KernelManager.transport=ipc" in arguments) == own
    assert ("JUPYTER_RUNTIME_DIR" in made.get_env()) == own
    if own:
        assert arguments.index("--KernelManager.transport=ipc") < arguments.index("--chosen"), "an admin has the last word"


def test_the_address_survives_what_a_database_keeps_of_it(monkeypatch):
    """Scheme, host (in small letters, as urlparse gives it) and a port are all there is after a restart of the hub."""
    from urllib.parse import unquote, urlparse

    from jupyterhub.objects import Server

    made = make(monkeypatch)
    address = urlparse(made.socket_url)
    server = Server(proto=address.scheme, ip=address.hostname, port=80, base_url="/user/bob/")
    monkeypatch.setattr(spawner.Spawner, "server", property(lambda self: server))
    assert unquote(urlparse(made.server.host).netloc) == str(made.socket_path)
    assert unquote(made.server.url) == f"http+unix://{made.socket_path}/user/bob/"


def test_a_server_of_another_base_url_is_ended(monkeypatch):
    """Nobody reaches it: its pages answer to the path that it was started for."""
    import asyncio

    from jupyterhub.objects import Server

    ended = []

    async def running(unit):
        return SimpleNamespace(running=True, status=0)

    async def stop(unit):
        ended.append(unit)

    monkeypatch.setattr(systemd, "state", running)
    monkeypatch.setattr(systemd, "stop", stop)
    made = make(monkeypatch)
    made.user.base_url = "/user/bob/"
    server = Server(proto="http", ip="x", port=80, base_url="/user/bob/")
    monkeypatch.setattr(spawner.Spawner, "server", property(lambda self: server))
    assert asyncio.run(made.poll()) is None
    made.user.base_url = "/jupyter/user/bob/"
    assert asyncio.run(made.poll()) == 0
    assert ended == [made.unit_name]


@pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")
def test_the_socket_folder_is_sealed_and_follows_no_link(monkeypatch, tmp_path):
    import asyncio
    import grp
    import socket

    monkeypatch.setattr(paths, "SOCKETS", tmp_path / "users")
    monkeypatch.setattr(spawner, "PROXY_GROUP", grp.getgrgid(0).gr_name)

    async def mount(folder, size, files):
        raise systemd.UnitError("this is no guest")

    monkeypatch.setattr(systemd, "mount_tmpfs", mount)
    (tmp_path / "users").mkdir()
    made = make(monkeypatch)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    account = Account("jupyter-bob", os.geteuid(), 0, "/nonexistent")
    asyncio.run(made._make_folder(account))
    (made.socket_folder / "link").symlink_to(outside)
    asyncio.run(made._make_folder(account))
    assert (outside / "precious").exists()
    assert list(made.socket_folder.iterdir()) == []
    assert stat.S_IMODE(made.socket_folder.stat().st_mode) == 0o2710
    made.socket_path.symlink_to(outside / "precious")
    with pytest.raises(spawner.SpawnFailure):
        made._seal_folder(account)
    made.socket_path.unlink()
    (made.socket_folder / "folder/inner").mkdir(parents=True)
    (made.socket_folder / "folder/link").symlink_to(outside)
    (made.socket_folder / "file").write_text("x")
    (made.socket_folder / "link").symlink_to(outside)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(made.socket_path))
        made._seal_folder(account)
    assert list(made.socket_folder.iterdir()) == [made.socket_path]
    assert (outside / "precious").exists()
    assert (made.socket_folder.stat().st_uid, stat.S_IMODE(made.socket_folder.stat().st_mode)) == (0, 0o2710)


@pytest.mark.parametrize("ours", [True, False])
def test_a_socket_of_another_process_is_no_server(monkeypatch, tmp_path, ours):
    import asyncio
    import socket

    monkeypatch.setattr(paths, "SOCKETS", tmp_path)
    made = make(monkeypatch)
    made.socket_folder.mkdir()

    async def state(unit):
        return systemd.State("active", "", "", 0, os.getpid() if ours else 1, "")

    monkeypatch.setattr(systemd, "state", state)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(made.socket_path))
        sock.listen()
        if ours:
            asyncio.run(made._check_listener())
        else:
            with pytest.raises(spawner.SpawnFailure):
                asyncio.run(made._check_listener())


def test_a_systemd_that_does_not_answer_ends_no_server(monkeypatch):
    import asyncio

    async def silent(unit):
        raise systemd.UnitError("did not answer")

    made = make(monkeypatch)
    monkeypatch.setattr(systemd, "state", silent)
    assert asyncio.run(made.poll()) is None
