import sys

from conda_standin import activate
from test_cli import work


def environment(tmp_path, name):
    (tmp_path / "envs" / name / "conda-meta").mkdir(parents=True)
    return str(tmp_path / "envs" / name)


def test_activation_is_shell_code(monkeypatch, tmp_path, capsys):
    one, two = environment(tmp_path, "one"), environment(tmp_path, "two")
    monkeypatch.setenv("CONDA_ENVS_DIRS", str(tmp_path / "envs"))
    monkeypatch.delenv("CONDA_SHLVL", raising=False)
    assert work(monkeypatch, tmp_path, "shell.posix", "activate", "one", PATH="/usr/bin") == 0
    assert f"export PATH={one}/bin:{sys.prefix}/condabin:/usr/bin\nexport CONDA_PREFIX={one}\nexport CONDA_SHLVL=1\n" in capsys.readouterr().out
    environ = {"PATH": f"{one}/bin:/usr/bin", "CONDA_PREFIX": one, "CONDA_SHLVL": "1"}
    assert work(monkeypatch, tmp_path, "shell.posix", "activate", two, **environ) == 0
    assert f"export PATH={two}/bin:/usr/bin\n" in capsys.readouterr().out
    assert work(monkeypatch, tmp_path, "shell.posix", "deactivate", **environ) == 0
    assert "unset CONDA_PREFIX\n" in capsys.readouterr().out
    assert work(monkeypatch, tmp_path, "shell.posix", "activate", "three") == 1


def test_init_writes_its_block_once(monkeypatch, tmp_path, capsys):
    for said in ("modified", "no change"):
        assert work(monkeypatch, tmp_path, "init", "bash") == 0
        assert said in capsys.readouterr().out
    assert (tmp_path / ".bashrc").read_text().count(">>> conda initialize >>>") == 1
    assert activate.BLOCK[:20] in (tmp_path / ".bashrc").read_text()
