import os
import stat
from types import SimpleNamespace

import pytest
from traitlets.config import Config

from tljh import paths, spawner, systemd
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
    assert student["NoNewPrivileges"] == student["PrivateDevices"] == "yes"
    assert not set(spawner.CONFINED) & set(admin)
    for both in (student, admin):
        assert (both["PrivateTmp"], both["ProtectProc"], both["Slice"], both["OOMPolicy"]) == ("yes", "invisible", "tljh-users.slice", "continue")
        assert (both["User"], both["Group"], both["Type"]) == ("1001", "1001", "exec")


def test_an_older_systemd_gets_only_what_it_knows(monkeypatch):
    assert "ProtectProc" not in properties(make(monkeypatch, version=245))


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
    assert env["JUPYTERHUB_SERVICE_URL"] == "http+unix://%2Frun%2Ftljh%2Fusers%2Fjupyter-bob%2Fserver.sock/"


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


@pytest.mark.skipif(os.geteuid() != 0, reason="changes owners")
def test_the_socket_folder_is_sealed_and_follows_no_link(monkeypatch, tmp_path):
    import grp
    import socket

    monkeypatch.setattr(paths, "SOCKETS", tmp_path / "users")
    monkeypatch.setattr(spawner, "PROXY_GROUP", grp.getgrgid(0).gr_name)
    (tmp_path / "users").mkdir()
    made = make(monkeypatch)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    account = Account("jupyter-bob", os.geteuid(), 0, "/nonexistent")
    made._make_folder(account)
    (made.socket_folder / "link").symlink_to(outside)
    made._make_folder(account)
    assert (outside / "precious").exists()
    assert list(made.socket_folder.iterdir()) == []
    assert stat.S_IMODE(made.socket_folder.stat().st_mode) == 0o2710
    made.socket_path.symlink_to(outside / "precious")
    with pytest.raises(spawner.SpawnFailure):
        made._seal_folder(account)
    made.socket_path.unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(made.socket_path))
        made._seal_folder(account)
    assert (made.socket_folder.stat().st_uid, stat.S_IMODE(made.socket_folder.stat().st_mode)) == (0, 0o2710)


def test_a_systemd_that_does_not_answer_ends_no_server(monkeypatch):
    import asyncio

    async def silent(unit):
        raise systemd.UnitError("did not answer")

    made = make(monkeypatch)
    monkeypatch.setattr(systemd, "state", silent)
    assert asyncio.run(made.poll()) is None
