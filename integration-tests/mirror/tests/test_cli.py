import json

import pytest
from conda_standin import cli, commands, errors, prefix, settings


def work(monkeypatch, tmp_path, *argv, **environ):
    for name, value in {"HOME": str(tmp_path), "CONDA_ROOT_PREFIX": str(tmp_path / "base"), **environ}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(commands, "HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["conda", *argv])
    return cli.work(list(argv))


def test_version(monkeypatch, tmp_path, capsys):
    assert work(monkeypatch, tmp_path, "--version") == 0
    assert capsys.readouterr().out == "conda 26.3.2\n"


def test_an_empty_environment(monkeypatch, tmp_path, capsys):
    env = tmp_path / "env"
    assert work(monkeypatch, tmp_path, "create", "-y", "-p", str(env)) == 0
    assert "# cmd: conda create -y -p " in (env / "conda-meta/history").read_text()
    assert (tmp_path / ".conda/environments.txt").read_text() == f"{env}\n"
    assert work(monkeypatch, tmp_path, "remove", "--all", "-p", str(env)) == 0
    assert not env.exists()
    assert (tmp_path / ".conda/environments.txt").read_text() == ""


def test_the_active_environment_is_meant_where_none_is_named(monkeypatch, tmp_path, capsys):
    active = str(tmp_path / "active")
    assert work(monkeypatch, tmp_path, "info", "--json", CONDA_PREFIX=active) == 0
    assert json.loads(capsys.readouterr().out)["default_prefix"] == active
    assert work(monkeypatch, tmp_path, "install", "x", CONDA_PREFIX=active) == 1
    assert f"EnvironmentLocationNotFound: Not a conda environment: {active}" in capsys.readouterr().err
    assert work(monkeypatch, tmp_path, "install", "x", "-n", "other", CONDA_PREFIX=active) == 1
    assert f"{tmp_path}/.conda/envs/other" in capsys.readouterr().err


def test_failures_as_json(monkeypatch, tmp_path, capsys):
    assert work(monkeypatch, tmp_path, "list", "--json", "-p", str(tmp_path / "none")) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["exception_name"] == "EnvironmentLocationNotFound"
    assert told["error"].startswith("EnvironmentLocationNotFound: Not a conda environment")


@pytest.mark.parametrize("argv", [["nonsense"], ["install", "--nonsense"], ["env"], ["list", "-p", "a", "-n", "b"]])
def test_wrong_command_lines(monkeypatch, tmp_path, capsys, argv):
    with pytest.raises(SystemExit) as end:
        work(monkeypatch, tmp_path, *argv)
    assert end.value.code == 2


def test_the_base_is_not_made_anew(monkeypatch, tmp_path, capsys):
    assert work(monkeypatch, tmp_path, "create", "-n", "base") == 1
    assert work(monkeypatch, tmp_path, "create", "-y", "x") == 1


def test_what_stays_after_a_removal():
    depends = {"python": set(), "pip": {"python"}, "lab": {"server", "python"}, "server": {"python"}, "cow": {"herd"}, "herd": set(), "farm": {"cow"}}
    asked = {"lab", "python", "farm", "cow"}
    assert commands.remaining(depends, {"herd"}, asked, False) == {"python", "pip", "lab", "server"}, "what needs it goes too"
    assert commands.remaining(depends, {"farm"}, asked, False) == {"python", "pip", "lab", "server", "cow", "herd"}
    assert commands.remaining(depends, {"lab"}, asked, False) == {"python", "pip", "cow", "herd", "farm"}, "what nobody needs any more goes too"
    assert commands.remaining(depends, {"herd"}, asked, True) == set(depends) - {"herd"}


def test_words_of_network_failures():
    assert str(errors.http_error("http://x/y", None, None)).startswith("HTTP 000 CONNECTION FAILED for url <http://x/y>")
    assert "A remote server error occurred" in str(errors.http_error("http://x/y", 502, "Bad Gateway"))


def test_a_list_that_cannot_be_written_is_no_failure(tmp_path):
    (tmp_path / ".conda").write_text("a file where a folder is due")
    prefix.register("/some/env", str(tmp_path))
    assert prefix.registered(str(tmp_path)) == []


def test_channels_of_a_command(tmp_path):
    args = cli.parser().parse_args(["install", "-c", "mine", "x"])
    found = settings.Settings(root="/base", channels=["conda-forge", "defaults"], channel_alias="http://mirror")
    assert commands.channels(args, found, []) == ["http://mirror/mine", "http://mirror/conda-forge"]
    args.override_channels = True
    assert commands.channels(args, found, []) == ["http://mirror/mine"]
