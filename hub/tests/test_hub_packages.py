"""Packages of a site's own for the hub environment."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tljh import hub_packages

PINS = ["jupyterhub==6.1.1", "typing-extensions==4.16.0", "pyjwt==2.15.1"]


def test_only_what_the_hub_does_not_hold_is_brought():
    resolved = "# a comment\njupyterhub==6.1.1\nPyJWT==2.15.1\njupyterhub-ltiauthenticator==1.6.3\ntyping.extensions==4.16.0 ; python_version > '3'\n--index https://x\n"
    assert hub_packages.beyond(resolved.replace("PyJWT", "pyjwt").replace("typing.", "typing-"), PINS) == ["jupyterhub-ltiauthenticator==1.6.3"]
    assert hub_packages.beyond("mine @ file:///root/mine-1.whl\n", PINS) == ["mine @ file:///root/mine-1.whl"]


@pytest.mark.parametrize("line", ["jupyterhub @ git+https://example.org/jupyterhub", "jupyterhub==6.1.2", "typing_extensions @ https://example.org/t.whl"])
def test_what_is_pinned_has_no_other_source(line):
    with pytest.raises(hub_packages.Refused, match="which this release of the hub needs"):
        hub_packages.beyond(line, PINS)


def test_the_archive_holds_files_by_their_places(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/a.py").write_text("x = 1\n")
    (tmp_path / ".lock").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/a").write_text("#!x\n")
    (tmp_path / "bin/a").chmod(0o755)
    packed = io.BytesIO()
    hub_packages.pack(tmp_path, packed)
    packed.seek(0)
    with tarfile.open(fileobj=packed) as archive:
        assert [(entry.name, entry.mode & 0o111 != 0) for entry in archive] == [("bin/a", True), ("lib/a.py", False)]


FAKE = """#!{python}
import json, os, pathlib, sys
log = pathlib.Path(__file__).with_suffix(".log")
asked = sys.stdin.read()
with log.open("a") as to:
    to.write(json.dumps({{"argv": sys.argv[1:], "asked": asked, "home": os.environ["HOME"]}}) + "\\n")
if "conflict" in asked:
    sys.exit("error: conflict requires jupyterhub<5")
if sys.argv[2] == "compile":
    print(pathlib.Path(sys.argv[sys.argv.index("--constraint") + 1]).read_text() + asked)
else:
    made = pathlib.Path(sys.argv[sys.argv.index("--prefix") + 1], "lib")
    made.mkdir()
    (made / "new.py").touch()
"""


@pytest.fixture
def run(tmp_path):
    fake = tmp_path / "uv"
    fake.write_text(FAKE.format(python=sys.executable))
    fake.chmod(0o755)

    def run(*requirements):
        question = {"uv": str(fake), "python": sys.executable, "options": ["--no-index"], "requirements": requirements, "pinned": PINS, "overrides": ""}
        program = [sys.executable, "-I", hub_packages.__file__]
        done = subprocess.run(program, input=json.dumps(question).encode(), capture_output=True, check=False, env={**os.environ, "HOME": "/root"})
        return done, [json.loads(line) for line in fake.with_suffix(".log").read_text().splitlines()]

    return run


def test_packages_are_resolved_with_the_pins_and_laid_out(run):
    done, calls = run("new==1")
    assert done.returncode == 0, done.stderr
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert archive.getnames() == ["lib/new.py"]
    assert [call["asked"] for call in calls] == ["new==1\n", "new==1\n"]
    assert all("--no-index" in call["argv"] for call in calls)
    assert "--no-deps" in calls[1]["argv"]
    assert all(not Path(call["home"]).exists() and call["home"] != "/root" for call in calls)


def test_nothing_is_laid_out_where_all_is_held(run):
    done, calls = run("jupyterhub==6.1.1")
    assert done.returncode == 0, done.stderr
    assert [call["argv"][1] for call in calls] == ["compile"]


def test_a_conflict_is_told_in_the_words_of_the_resolver(run):
    done, calls = run("conflict")
    assert (done.returncode, done.stderr.decode()) == (1, "error: conflict requires jupyterhub<5\n")
    assert len(calls) == 1
