from datetime import datetime

import pytest
from conda_standin import specs


@pytest.mark.parametrize(
    ("text", "name", "spec"),
    [
        ("cowsay", "cowsay", "cowsay"),
        ("CowSay=6.0", "cowsay", "cowsay 6.0.*"),
        ("cowsay==6.0", "cowsay", "cowsay ==6.0"),
        ("cowsay=6.0=0", "cowsay", "cowsay 6.0.* 0"),
        ("cowsay==6.0=pyh_0", "cowsay", "cowsay ==6.0 pyh_0"),
        ("cowsay=6.*", "cowsay", "cowsay 6.*"),
        ("cowsay>=5,<6", "cowsay", "cowsay >=5,<6"),
        ("cowsay >=5", "cowsay", "cowsay >=5"),
        ("cowsay 6.0 0", "cowsay", "cowsay 6.0 0"),
        ("cowsay!=6.0", "cowsay", "cowsay !=6.0"),
        ("cowsay[version='>=5', build=py_0]", "cowsay", "cowsay >=5 py_0"),
        ("conda-forge::cowsay=6", "cowsay", "cowsay 6.*"),
    ],
)
def test_parse(text, name, spec):
    asked = specs.parse(text)
    assert (asked.name, asked.spec, asked.text) == (name, spec, text)
    assert asked.channel == ("conda-forge" if "::" in text else "")


def test_what_is_no_name_is_refused():
    with pytest.raises(ValueError, match="invalid package specification"):
        specs.parse("=6.0")


def test_explicit():
    text = "# a comment\n@EXPLICIT\nhttp://a/noarch/b-1-0.conda#" + "0" * 32 + "\nhttp://a/noarch/c-1-0.conda\nfile:///d-1-0.conda#sha256:" + "1" * 64 + "\n"
    b, c, d = specs.explicit(text)
    assert (b.url, b.md5, b.sha256) == ("http://a/noarch/b-1-0.conda", "0" * 32, "")
    assert (c.url, c.md5, c.sha256) == ("http://a/noarch/c-1-0.conda", "", "")
    assert (d.url, d.md5, d.sha256) == ("file:///d-1-0.conda", "", "1" * 64)
    assert specs.explicit("cowsay\npip\n") is None


def test_a_package_is_known_by_its_checksum():
    known = {"url": "http://old/b-1-0.conda", "md5": "0" * 32}
    assert specs.same_package(specs.Pinned("http://new/b-1-0.conda", md5="0" * 32), known)
    assert not specs.same_package(specs.Pinned("http://old/b-1-0.conda", md5="1" * 32), known)
    assert specs.same_package(specs.Pinned("http://old/b-1-0.conda"), known)
    assert not specs.same_package(specs.Pinned("http://new/b-1-0.conda"), known)


def test_files_of_specs():
    assert specs.meaningful("# top\n\ncowsay <6 # why\n  pip\n") == ["cowsay <6", "pip"]


def test_history():
    when = datetime(2026, 1, 2, 3, 4, 5)
    command = ["conda", "install", "b"]
    entry = specs.history_entry(when, command, "26.3.2", removed=["x::a-1-0"], added=["x::c-1-0", "x::b-1-0"], verb="update", specs=["b"])
    assert entry == ("==> 2026-01-02 03:04:05 <==\n# cmd: conda install b\n# conda version: 26.3.2\n-x::a-1-0\n+x::b-1-0\n+x::c-1-0\n# update specs: ['b']\n")


def test_channels():
    assert specs.channel_url("conda-forge", "http://mirror/") == "http://mirror/conda-forge"
    assert specs.channel_url("http://elsewhere/x/", "http://mirror") == "http://elsewhere/x"
    assert specs.channel_url("/srv/channel", "http://mirror") == "file:///srv/channel"
    assert specs.channel_name("http://mirror/conda-forge/", "http://mirror") == "conda-forge"
    assert specs.channel_name("http://elsewhere/x", "http://mirror") == "http://elsewhere/x"
