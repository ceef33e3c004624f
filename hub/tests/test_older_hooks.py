import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tljh import older_hooks


def look(tmp_path, text, name="hook.py"):
    folder = tmp_path / "jupyterhub_config.d"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return {(each["kind"], each["path"], each["line"]) for each in older_hooks.look(str(folder))}


WRITES = {
    "import os\nos.makedirs('/srv/homework/x', exist_ok=True)": "/srv/homework/x",
    "import os\nos.makedirs(f'/srv/homework/{name}')": "/srv/homework",
    "from os import makedirs as make\nmake('/srv/homework/%s' % name)": "/srv/homework",
    "import os\nos.mkdir('/srv/homework/{}'.format(name))": "/srv/homework",
    "import os\nos.chown(os.path.join('/srv/homework', name, 'x'), 1, 1)": "/srv/homework",
    "ROOT = '/srv/homework'\nopen(ROOT + '/log', 'a')": "/srv/homework/log",
    "import os\nROOT = '/srv/homework'\ndef hook(s):\n    path = os.path.join(ROOT, s.user.name)\n    os.mkdir(path)": "/srv/homework",
    "open('/data/log.txt', mode='w')": "/data/log.txt",
    "from pathlib import Path\n(Path('/data') / name).mkdir()": "/data",
    "from pathlib import Path\nPath('/data', 'x').write_text('y')": "/data/x",
    "from pathlib import Path\nPath('/data/x').open('w')": "/data/x",
    "import shutil\nshutil.copytree('/srv/skeleton', f'/data/homes/{name}')": "/data/homes",
    "import logging\nlogging.FileHandler('/srv/hub.log')": "/srv/hub.log",
    "import logging.handlers\nlogging.handlers.RotatingFileHandler('/srv/hub.log')": "/srv/hub.log",
    "import subprocess\nsubprocess.run(['mkdir', '-p', f'/srv/homework/{name}'])": "/srv/homework",
    "import subprocess\nsubprocess.check_call(['cp', '-r', '/etc/skel', '/data/x'])": "/data/x",
    "import subprocess\nsubprocess.run(f'mkdir -p /srv/homework/{name} && echo', shell=True)": "/srv/homework",
    "import os\nos.system('date >> /srv/hub.log')": "/srv/hub.log",
    "import os\nos.system('date >/srv/hub.log 2>&1')": "/srv/hub.log",
    "import subprocess\nsubprocess.run(['bash', '-c', 'touch /srv/a$USER'])": "/srv",
    "import asyncio\nasync def h(s):\n    await asyncio.create_subprocess_exec('touch', '/srv/a')": "/srv/a",
}


@pytest.mark.parametrize("text", WRITES)
def test_what_code_writes_to_is_found(tmp_path, text):
    found = look(tmp_path, text)
    assert {(kind, path) for kind, path, _ in found} == {("write", WRITES[text])}


@pytest.mark.parametrize(
    "text",
    [
        "import subprocess\nsubprocess.run(['sudo', '-u', name, 'true'])",
        "import subprocess\nsubprocess.run(['/usr/bin/sudo', 'useradd', name])",
        "import os\nos.system('sudo true')",
        "import os\nos.system('cd /tmp && X=1 sudo -E true')",
        "from subprocess import check_call\ncheck_call('sudo true', shell=True)",
    ],
)
def test_sudo_is_found(tmp_path, text):
    assert look(tmp_path, text) == {("sudo", "", 2)}


def test_sudo_and_what_it_writes(tmp_path):
    assert look(tmp_path, "import subprocess\nsubprocess.run(['sudo', 'mkdir', '-p', '/srv/x'])") == {("sudo", "", 2), ("write", "/srv/x", 2)}


@pytest.mark.parametrize(
    "text",
    [
        "c.Spawner.environment = {'COURSE': 'physics', 'DATA': '/srv/data'}",
        "open('/srv/list.txt').read()",
        "open('/srv/list.txt', 'rb')",
        "import os\nos.path.exists('/srv/x')\nos.listdir('/srv')",
        "import subprocess\nsubprocess.run(['getent', 'passwd', name])",
        "import os\nos.makedirs(path)",
        "'/srv/a'.replace('a', 'b')",
        "# sudo mkdir /srv/x\n'sudo mkdir /srv/y'",
        "x = 'a.open'\nx.rename\nc.Spawner.notebook_dir = '/srv/x'",
        "import shutil\nshutil.which('/srv/x')",
        "def hook(spawner):\n    spawner.environment['HOME'] = '/srv/' + spawner.user.name",
    ],
)
def test_what_only_reads_is_no_finding(tmp_path, text):
    assert look(tmp_path, text) == set()


def test_scripts_that_are_started_are_looked_into(tmp_path):
    shell = tmp_path / "make-home.sh"
    shell.write_text('#!/bin/bash\nset -e\n# mkdir /not/this\nif [ -n "$1" ]; then\n  sudo mkdir -p /srv/homes/$1\nfi\nchown \\\n  root /data/x\n')
    python = tmp_path / "make-home.py"
    python.write_text("#!/usr/bin/env python3\nimport os, sys\nos.makedirs('/srv/py/' + sys.argv[1])\n")
    text = f"import subprocess\nsubprocess.run(['{shell}', name])\nsubprocess.run(['python3', '{python}', name])\nsubprocess.run(['/nowhere', 'x'])"
    assert look(tmp_path, text) == {("sudo", "", 2), ("write", "/srv/homes", 2), ("write", "/data/x", 2), ("write", "/srv/py", 3)}


def test_a_script_that_starts_itself_is_looked_into_once(tmp_path):
    again = tmp_path / "again.sh"
    again.write_text(f"#!/bin/sh\n{again}\ntouch /srv/x\n")
    assert look(tmp_path, f"import os\nos.system('{again}')") == {("write", "/srv/x", 2)}
    python = tmp_path / "again.py"
    python.write_text(f"#!/usr/bin/python3\nimport os\nos.system('{python}')\nos.mkdir('/srv/x')\n")
    assert look(tmp_path, f"import os\nos.system('{python}')") == {("write", "/srv/x", 2)}


def test_a_file_that_cannot_be_read_as_python_is_told(tmp_path):
    assert look(tmp_path, "def x(:\n") == {("broken", "", 1)}
    assert older_hooks.look("/nowhere") == []


def test_any_python_from_3_6_runs_it(tmp_path):
    source = Path(older_hooks.__file__).read_text()
    ast.parse(source, feature_version=(3, 6))
    (tmp_path / "a.py").write_text("open('/srv/x', 'w')")
    looked = subprocess.run([sys.executable, "-I", "-", str(tmp_path)], input=source, check=True, capture_output=True, text=True)
    assert json.loads(looked.stdout) == [{"file": "a.py", "line": 1, "kind": "write", "path": "/srv/x"}]
