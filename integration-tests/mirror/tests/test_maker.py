import importlib.util
import io
import marshal
import tarfile
import zipfile
from compression import zstd

import condapkg
import miniforge
import pytest
import wheels
from condapkg import PLACEHOLDER, File, Package
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import locks


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Jupyter-Server", "jupyter_server"),
        ("jupyter_lsp", "jupyter-lsp"),
        ("typing-extensions", "typing_extensions"),
        ("tzdata", "python-tzdata"),
        ("PyYAML", "pyyaml"),
    ],
)
def test_names(text, name):
    assert wheels.conda_name(text) == name


@pytest.mark.parametrize(("text", "spec"), [(">=1,<2", "<2,>=1"), ("==1.*", "1.*"), ("==1.5", "==1.5"), ("~=1.5", "~=1.5"), ("===1.5", "==1.5"), ("", "")])
def test_constraints(text, spec):
    assert wheels.constraint(SpecifierSet(text)) == spec


def wheel(tmp_path, name, version="1.0", requires=(), tag="py3-none-any", files=None, entry_points=""):
    path = tmp_path / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    lines = [f"Name: {name}", f"Version: {version}", "Requires-Python: >=3.8", *(f"Requires-Dist: {each}" for each in requires)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(f"{info}/RECORD", "")
        for member, text in (files or {}).items():
            archive.writestr(member, text)
        if entry_points:
            archive.writestr(f"{info}/entry_points.txt", entry_points)
    return wheels.Wheel(path)


def test_extras_of_dependencies_are_folded_in(tmp_path):
    lab = wheel(tmp_path, "lab", requires=["base[fast]>=1", 'windows-only; sys_platform == "win32"', "never", 'tests; extra == "test"'])
    base = wheel(tmp_path, "base", requires=["plain", 'speed; extra == "fast"', 'other; extra == "other"'])
    shelf = wheels.shelf([lab, base], 'never; sys_platform == "never"\n')
    assert shelf.dependencies(lab) == {"base >=1", "plain", "speed"}
    assert shelf.dependencies(base) == {"plain"}


def test_extras_that_need_each_other_come_to_an_end(tmp_path):
    one = wheel(tmp_path, "one", requires=['two[all]; extra == "all"'])
    two = wheel(tmp_path, "two", requires=['one[all]; extra == "all"'])
    asks = wheel(tmp_path, "asks", requires=["one[all]"])
    assert wheels.shelf([one, two], "").dependencies(asks) == {"one", "two"}


def test_a_pure_wheel(tmp_path):
    files = {"cow/__init__.py": "x = 1\n", "cow-1.0.data/scripts/moo": "#!python\nprint()\n", "cow-1.0.data/data/share/cow.txt": "cow"}
    found = wheels.convert(wheel(tmp_path, "cow", files=files, entry_points="[console_scripts]\ncow = cow:main [extra]\n"), wheels.shelf([], ""))
    assert (found.file_name, found.subdir, found.noarch) == ("cow-1.0-pyhd8ed1ab_0.conda", "noarch", "python")
    assert found.entry_points == ["cow = cow:main"]
    assert found.depends == ["python >=3.8"]
    assert found.files["python-scripts/moo"].data == f"#!{PLACEHOLDER}/bin/python\nprint()\n".encode()
    assert found.files["python-scripts/moo"].prefixed
    assert found.files["share/cow.txt"].data == b"cow"
    record = found.files["site-packages/cow-1.0.dist-info/RECORD"].data.decode()
    assert "cow/__init__.py,sha256=" in record
    assert "../../../bin/cow,,\n" in record
    assert "../../../bin/moo,,\n" in record
    assert "../../../share/cow.txt,sha256=" in record
    assert "cow-1.0.dist-info/RECORD,,\n" in record


def test_a_wheel_for_this_platform(tmp_path):
    files = {"cow/__init__.py": "x = 1\n", "cow/_c.so": "elf"}
    built = wheel(tmp_path, "cow", tag="cp314-cp314-manylinux_2_28_x86_64", files=files, entry_points="[console_scripts]\ncow = cow.main:Cow.run\n")
    found = wheels.convert(built, wheels.shelf([], ""))
    assert (found.subdir, found.build) == ("linux-64", f"py{wheels.TAG}_0")
    assert f"python_abi {wheels.MINOR}.* *_cp{wheels.TAG}" in found.depends
    site = f"lib/python{wheels.MINOR}/site-packages/cow"
    assert f"{site}/_c.so" in found.files
    assert importlib.util.cache_from_source(f"{site}/__init__.py") in found.files
    assert found.files["bin/cow"].data.decode().endswith("from cow.main import Cow\nif __name__ == '__main__':\n    sys.exit(Cow.run())\n")


def test_archives(tmp_path):
    package = Package("cow", "1.0", "0", ["grass"], noarch="generic", files={"share/cow": File(b"moo", 0o755), "share/calf": File(link="cow")})
    package.files["share/where"] = File(PLACEHOLDER.encode(), prefixed=True)
    first = condapkg.write(package, tmp_path / "a").read_bytes()
    assert condapkg.write(package, tmp_path / "b").read_bytes() == first, "the same input gives the same bytes"
    with zipfile.ZipFile(io.BytesIO(first)) as parts:
        assert parts.namelist() == ["metadata.json", "pkg-cow-1.0-0.tar.zst", "info-cow-1.0-0.tar.zst"]
        data = tarfile.open(fileobj=io.BytesIO(zstd.decompress(parts.read("pkg-cow-1.0-0.tar.zst"))))
        info = tarfile.open(fileobj=io.BytesIO(zstd.decompress(parts.read("info-cow-1.0-0.tar.zst"))))
    assert [(each.name, oct(each.mode), each.linkname, each.uname) for each in data] == [
        ("share/calf", "0o644", "cow", "root"),
        ("share/cow", "0o755", "", "root"),
        ("share/where", "0o644", "", "root"),
    ]
    assert info.extractfile("info/has_prefix").read().decode() == f"{PLACEHOLDER} text share/where\n"
    assert "info/link.json" not in info.getnames()


def test_byte_code():
    name, data = condapkg.byte_code("lib/a.py", b"x = 6 * 7\n")
    assert name == importlib.util.cache_from_source("lib/a.py")
    assert data[:4] == importlib.util.MAGIC_NUMBER
    assert data[4:8] == b"\x01\0\0\0", "never held against its source"
    space = {}
    exec(marshal.loads(data[16:]), space)
    assert space["x"] == 42
    assert condapkg.byte_code("lib/a.py", b"print 'two'\n") is None


def test_locks():
    one, two, other = locks.parse(f"# top\na==1 \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{'1' * 64}\nA==2 --hash=sha256:{'2' * 64}\nb-c==1\n")
    assert (one.name, one.version, len(one.hashes)) == ("a", "1", 2)
    assert (two.name, two.version) == ("a", "2")
    assert locks.rounds([one, two, other, one]) == [[one, other], [two]], "pip takes one version at a time"


def test_a_wheel_with_another_checksum_is_not_there(tmp_path):
    path = wheel(tmp_path, "cow").path
    right = locks.Pin("cow", "1.0", frozenset({locks.digest(path)}))
    assert locks.there(right, tmp_path) == path
    assert locks.there(locks.Pin("cow", "1.0", frozenset({"0" * 64})), tmp_path) is None
    assert locks.there(locks.Pin("cow", "1.1", right.hashes), tmp_path) is None


def test_the_base_holds_what_it_needs():
    packages = [Package(name, "1", "0", depends) for name, depends in [("conda", ["python >=3"]), ("mamba", ["conda"]), ("pip", []), ("python", []), ("x", [])]]
    assert [each.name for each in miniforge.base(packages)] == ["conda", "mamba", "pip", "python"]


def test_installers_know_where_their_archive_begins(tmp_path):
    to = tmp_path / "installer.sh"
    miniforge.write("#!/bin/sh\ntail -n +@LINES@\n", {"a": File(b"1")}, to)
    head, _, rest = to.read_bytes().partition(b"+2\n")
    assert head == b"#!/bin/sh\ntail -n "
    with tarfile.open(fileobj=io.BytesIO(rest), mode="r:gz") as tar:
        assert tar.getnames() == ["a"]


def test_requirements_of_other_platforms():
    assert wheels.applies(Requirement('x; sys_platform == "linux"'), ())
    assert not wheels.applies(Requirement('x; platform_system == "Windows"'), ())
    assert not wheels.applies(Requirement('x; extra == "all"'), ())
    assert wheels.applies(Requirement('x; extra == "all"'), ("all",))
