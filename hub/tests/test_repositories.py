"""What others wrote into a folder, as the author of a repository that a link brings. With a real Jupyter server."""

import json
import tempfile
from pathlib import Path

import pytest
from jupyter import serving


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(prefix="j", dir="/tmp") as folder:
        yield Path(folder)


# Modules that IPython imports before a cell runs: its extension, those of start files, and those of completion.
IMPORTED = ["storemagic", "autoreload", "named_by_start", "jedi", "parso", "colorama", "numpydoc"]


def test_a_kernel_imports_nothing_from_the_folder_before_a_cell_runs(place, tmp_path):
    start = tmp_path / ".ipython/profile_default/startup/start.py"
    start.parent.mkdir(parents=True)
    start.write_text("try:\n    import named_by_start\nexcept ImportError:\n    pass\n")
    (start.parent.parent / "ipython_kernel_config.py").write_text("c.InteractiveShellApp.extensions = ['autoreload']\n")
    course = tmp_path / "course"
    course.mkdir()
    ran = tmp_path / "ran"
    for name in IMPORTED:
        (course / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write({name!r})\n")
    (course / "helper.py").write_text("answer = 42\n")
    (course / "x.ipynb").write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    with serving(tmp_path, place) as server:
        status, session = server.api("POST", "sessions", {"path": "course/x.ipynb", "type": "notebook", "name": "x", "kernel": {"name": "python3"}})
        assert status == 201, session
        kernel = session["kernel"]["id"]
        server.complete(kernel, "imp")
        assert not ran.exists(), ran.read_text()
        assert server.ask(kernel, "__import__('helper').answer") == "42", "a notebook imports what lies beside it"
        assert server.ask(kernel, "__import__('sys').path.count('')") == "1"
