import asyncio
import os
import stat
import subprocess
import sys
import time

import pytest

from tljh import systemd


def fake(tmp_path, monkeypatch, name, script):
    """A program of this name that does what the script says, and writes its arguments down."""
    path = tmp_path / name
    path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/{name}.args\n{script}\n')
    path.chmod(0o755)
    monkeypatch.setitem(systemd._ENV, "PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / f"{name}.args"


def test_a_units_state_is_read(tmp_path, monkeypatch):
    fake(
        tmp_path, monkeypatch, "systemctl", "printf 'ActiveState=failed\\nResult=oom-kill\\nExecMainCode=2\\nExecMainStatus=9\\nMainPID=0\\nInvocationID=ab\\n'"
    )
    state = asyncio.run(systemd.state("u.service"))
    assert state == systemd.State("failed", "oom-kill", "killed", 9, 0, "ab")
    assert (state.running, state.known) == (False, True)


def test_a_unit_that_is_not_there_is_inactive(tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, "systemctl", "printf 'ActiveState=inactive\\nMainPID=0\\n'")
    state = asyncio.run(systemd.state("u.service"))
    assert (state.running, state.known, state.status) == (False, False, 0)


def test_systemd_run_that_fails_is_an_error_with_its_words(tmp_path, monkeypatch):
    fake(tmp_path, monkeypatch, "systemd-run", "echo 'Failed to start: no such slice' >&2; exit 1")
    with pytest.raises(systemd.UnitError, match="no such slice"):
        asyncio.run(systemd.start("u.service", ["prog"], []))


def test_the_command_and_properties_are_handed_on_as_they_are(tmp_path, monkeypatch):
    args = fake(tmp_path, monkeypatch, "systemd-run", "exit 0")
    asyncio.run(systemd.start("u.service", ["/bin/prog", "--flag=a b", "$HOME"], [("User", "1000"), ("ReadOnlyPaths", "/a")]))
    got = args.read_text().splitlines()
    assert got[got.index("--") + 1 :] == ["/bin/prog", "--flag=a b", "$HOME"]
    assert "--property=User=1000" in got
    assert "--unit=u.service" in got


def test_a_program_that_hangs_is_ended():
    begun = time.monotonic()
    with pytest.raises(systemd.UnitError, match="did not answer"):
        asyncio.run(systemd.run(sys.executable, "-c", "import time; time.sleep(60)", limit=0.3))
    assert time.monotonic() - begun < 20


NASTY = {
    "PLAIN": "x",
    "QUOTES": """a "b" 'c'""",
    "DOLLAR": "$HOME `id` \\n \\",
    "LINES": "one\ntwo\n",
    "EMPTY": "",
    "HASH": "# no comment",
    "UNI": "ü😀",
    "SPACE": "  ",
}


def test_an_environment_reads_like_a_shells():
    """systemd's rules for double quotes are the shell's; guests try it with systemd itself."""
    text = systemd.environment_text(NASTY)
    program = f"set -a\n{text}\nexec {sys.executable} -c 'import os, json; print(json.dumps(dict(os.environ)))'"
    done = subprocess.run(["/bin/sh", "-c", program], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"})
    import json

    got = json.loads(done.stdout)
    assert {key: got[key] for key in NASTY} == NASTY


@pytest.mark.parametrize(("key", "value"), [("A=B", "x"), ("", "x"), ("A B", "x"), ("A\n", "x"), ("OK", "nul\0")])
def test_what_is_no_variable_is_refused(key, value):
    with pytest.raises(ValueError, match="not a variable"):
        systemd.environment_text({key: value})


def test_the_environments_file_is_private_and_follows_no_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = tmp_path / "env"
    folder.mkdir()
    (folder / "u.env").symlink_to(victim)
    path = systemd.write_environment(folder, "u", {"TOKEN": "secret"})
    assert victim.read_text() == "mine"
    assert not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_end_of_a_process_is_noticed_at_once():
    async def main():
        with subprocess.Popen(["sleep", "60"]) as process:
            waiting = asyncio.create_task(systemd.ended(process.pid))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            begun = time.monotonic()
            process.kill()
            await asyncio.wait_for(waiting, 10)
            return time.monotonic() - begun

    assert asyncio.run(main()) < 5


def test_a_process_that_is_gone_has_ended():
    process = subprocess.Popen(["true"])
    process.wait()
    asyncio.run(asyncio.wait_for(systemd.ended(process.pid), 5))


def test_without_pidfd_it_works_too(monkeypatch):
    monkeypatch.setattr(systemd, "_pidfd", lambda pid: (_ for _ in ()).throw(OSError("no such call")))
    process = subprocess.Popen(["sleep", "60"])

    async def main():
        waiting = asyncio.create_task(systemd.ended(process.pid))
        await asyncio.sleep(0.05)
        process.kill()
        process.wait()
        await asyncio.wait_for(waiting, 10)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "unit"), [("/run/tljh/sockets/jupyter-bob", r"run-tljh-sockets-jupyter\x2dbob.mount"), ("/run/a b/é", r"run-a\x20b-\xc3\xa9.mount")]
)
def test_the_unit_of_a_path(path, unit):
    assert systemd.path_unit(path, "mount") == unit
