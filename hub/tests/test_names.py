import hashlib
import random
import re

import pytest

from tljh.names import spell, system_name, unit_name

# What useradd of every distribution and systemd take.
ACCOUNT = re.compile(r"jupyter-[a-z0-9._-]*")


@pytest.mark.parametrize("name", ["alice", "john_doe", "a.b", "1234", "x-1", "a" * 17, "_", "ends_"])
def test_plain_names_are_kept(name):
    assert system_name(name) == f"jupyter-{name}"


@pytest.mark.parametrize("name", ["a" * 18, "b" * 60, "first.last-of-a-long-name"])
def test_long_names_are_shortened_as_the_older_tljh_did(name):
    whole = f"jupyter-{name}"
    assert system_name(name) == whole[:26] + "-" + hashlib.sha256(whole.encode()).hexdigest()[:5]


def test_the_limit_is_26_characters_with_the_prefix():
    assert system_name("a" * 17) == "jupyter-" + "a" * 17
    assert len(system_name("a" * 18)) == 32


@pytest.mark.parametrize(
    ("name", "account"),
    [("a@uni.edu", "jupyter-a__40uni.edu"), ("Zoë", "jupyter-__5ao__c3__ab"), ("a__b", "jupyter-a__5f__5fb"), ("a b", "jupyter-a__20b")],
)
def test_what_useradd_refuses_is_spelled(name, account):
    assert system_name(name) == account


def unspell(text):
    if "__" not in text:
        return text
    data = re.sub(rb"__([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), text.encode())
    return data.decode("utf-8", "surrogatepass")


def random_names(seed, count):
    chance = random.Random(seed)
    alphabets = ["ab_", "_5f0", "abcdefghijklmnopqrstuvwxyz0123456789._-", "aA@.+ _", "".join(map(chr, range(1, 0x250))), "日本語😀é\u0301\udc80"]
    for _ in range(count):
        letters = chance.choice(alphabets)
        yield "".join(chance.choice(letters) for _ in range(chance.randint(1, 40)))


def test_spelling_can_be_undone_so_no_two_names_are_spelled_alike():
    for name in random_names(1, 20000):
        assert unspell(spell(name)) == name


def test_every_account_name_is_one_that_useradd_takes():
    for name in random_names(2, 20000):
        account = system_name(name)
        assert ACCOUNT.fullmatch(account), name
        assert len(account) <= 32


def test_shortened_and_kept_names_never_meet():
    kept, cut = set(), set()
    for name in random_names(3, 20000):
        account = system_name(name)
        (cut if len(account) == 32 else kept).add(account)
        assert len(account) == 32 or len(account) < 26
    assert cut and kept and not cut & kept


def test_units_of_named_servers_are_nobody_elses():
    names = set(random_names(4, 3000))
    units = {unit_name(name) for name in names}
    assert all(unit.endswith(".service") for unit in units)
    for name in names:
        assert unit_name(name, "second") not in units
        assert unit_name(name, "second") != unit_name(name, "third")


def test_a_dot_does_not_make_another_kind_of_unit():
    assert unit_name("x.slice") == "jupyter-x.slice.service"


def test_socket_paths_fit():
    from tljh import paths

    for name in random_names(5, 3000):
        assert len(str(paths.SOCKETS / unit_name(name, "server").removesuffix(".service") / "server.sock")) <= 107


@pytest.mark.parametrize(
    ("name", "account"),
    [("alice", "alice"), ("a" * 32, "a" * 32), ("A b", "__41__20b"), ("x" * 33, "x" * 26 + "-" + hashlib.sha256(b"x" * 33).hexdigest()[:5])],
)
def test_a_sites_own_accounts_keep_their_names(name, account):
    assert system_name(name, "") == account
    assert unit_name(name).startswith("jupyter-"), "units of users' servers are told from others by their names"
