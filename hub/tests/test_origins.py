import pytest

from tljh.origins import label


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ("alice", "alice"),
        ("Alice", "alice"),
        ("a-1", "a-1"),
        ("a" * 40, "a" * 40),
        ("jürgen", "u-19b720a911fced55aecd"),
        ("a.b", "u-2e7336dc8eba87ef472d"),
        ("u-x", "u-1275a32ada4ff619a56b"),
    ],
)
def test_labels_are_those_of_the_edge(user, name):
    assert label(user) == name


@pytest.mark.parametrize("user", ["a--b", "a" * 41, "-a", "a-", "a_b", "a@b.c"])
def test_what_can_be_no_label_gets_a_digest(user):
    assert label(user).startswith("u-")
    assert len(label(user)) == 22
