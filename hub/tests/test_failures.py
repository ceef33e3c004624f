import signal

import pytest

from tljh import failures, rescue
from tljh.failures import SpawnFailure, Story
from tljh.systemd import State


def state(active="failed", result="exit-code", code="exited", status=1):
    return State(active, result, code, status, 0, "")


@pytest.mark.parametrize(
    ("unit", "lines", "kind"),
    [
        (state(), ["OSError: [Errno 28] No space left on device: '/home/x'"], "disk"),
        (state(), ["sqlite3.OperationalError: database or disk is full"], "disk"),
        (state(), ["OSError: [Errno 122] Disk quota exceeded"], "disk"),
        (state(result="oom-kill", code="killed", status=9), [], "memory"),
        # cgroup v1 has no word for it
        (state(result="signal", code="killed", status=signal.SIGKILL), [], "memory"),
        (state(), ["MemoryError"], "memory"),
        (state(result="resources"), [], "system"),
        (state(), ["ValueError: no"], "exited"),
        (state(result="signal", code="dumped", status=signal.SIGSEGV), [], "exited"),
        (state("inactive", "success", "exited", 0), [], "exited"),
    ],
)
def test_the_cause_is_found(unit, lines, kind):
    assert failures.ended_early("jupyter-bob.service", unit, lines).kind == kind


def test_how_it_ended_is_said():
    assert "exit code 7" in failures.ended_early("u", state(status=7), []).what
    assert "SIGSEGV" in failures.ended_early("u", state(code="dumped", status=11), []).what
    assert "signal 250" in failures.ended_early("u", state(code="killed", status=250), []).what


def test_jupyterhub_shows_the_words_and_escapes_them():
    from jupyterhub.utils import format_exception

    failure = SpawnFailure(Story("exited", "It <ended>.", "Ask.", ["<script>alert(1)</script>"]))
    text, rich = format_exception(failure, only_jupyterhub=True)
    assert text == "It <ended>. Ask."
    assert "<script>" not in rich
    assert "&lt;script&gt;alert(1)" in rich
    assert "It &lt;ended&gt;." in rich


@pytest.mark.parametrize("story", [failures.environment_missing("/x"), failures.environment_broken(["why"]), failures.environment_version("1.0", "6.1")])
def test_a_broken_environment_says_what_to_run(story):
    assert story.kind == "environment"
    assert story.hint.endswith(rescue.REPAIR)
