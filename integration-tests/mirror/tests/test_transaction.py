import json
from types import SimpleNamespace

from conda_standin import transaction
from conda_standin.prefix import Prefix

SITE = "lib/python3.14/site-packages"


def record():
    files = ["bin/herd", "bin/moo", f"{SITE}/moo.py", f"{SITE}/__pycache__/moo.cpython-314.pyc", "share/moo"]
    return {"noarch": "python", "files": files, "paths_data": {"paths": [{"_path": path} for path in files]}}


def paths(data):
    return [each["_path"] for each in data["paths_data"]["paths"]]


def test_what_works_with_any_python_is_noted_by_its_paths_in_the_package():
    data = record()
    transaction.note_paths(data, ["python-scripts/moo", "site-packages/moo.py", "share/moo"])
    assert paths(data) == ["bin/herd", "python-scripts/moo", "site-packages/moo.py", f"{SITE}/__pycache__/moo.cpython-314.pyc", "share/moo"]
    assert data["files"] == record()["files"]


def test_what_is_unlinked_has_the_paths_in_the_environment(tmp_path):
    data = record()
    transaction.note_paths(data, ["python-scripts/moo", "site-packages/moo.py", "share/moo"])
    prefix = Prefix(str(tmp_path))
    prefix.meta.mkdir()
    noted = prefix.meta / "moo-1-0.json"
    noted.write_text(json.dumps(data))
    transaction.prepare_record(prefix, SimpleNamespace(file_name="moo-1-0.conda"))
    assert json.loads(noted.read_text()) == record()
