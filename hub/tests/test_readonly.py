import asyncio
import errno
import logging
import os
import subprocess
from types import SimpleNamespace

import pytest
from traitlets.config import Config

from tljh import accounts, readonly, spawner
from tljh.failures import SpawnFailure
from tljh.spawner import UserSpawner


def erofs(path="/srv/homework/bob"):
    return OSError(errno.EROFS, os.strerror(errno.EROFS), path)


def wrapped(error):
    try:
        try:
            raise error
        except OSError as inner:
            raise ValueError("it did not work") from inner
    except ValueError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "path"),
    [
        (erofs(), "/srv/homework/bob"),
        (erofs(b"/srv/bytes"), "/srv/bytes"),
        (wrapped(erofs()), "/srv/homework/bob"),
        (ExceptionGroup("two", [ValueError(), erofs()]), "/srv/homework/bob"),
        (OSError(errno.EROFS, "no name"), ""),
        (subprocess.CalledProcessError(1, ["mkdir"], stderr=b"mkdir: cannot create directory: Read-only file system"), ""),
        (subprocess.CalledProcessError(1, ["mkdir"], stderr=None), None),
        (OSError(errno.EACCES, "x", "/srv/a"), None),
        (ValueError(), None),
        (None, None),
    ],
)
def test_an_error_tells_what_is_read_only(error, path):
    assert readonly.refused(error) == path


def test_the_folder_to_permit_is_the_narrowest_that_is_there(tmp_path):
    assert readonly.folder_to_permit(str(tmp_path)) == str(tmp_path)
    assert readonly.folder_to_permit(f"{tmp_path}/bob") == str(tmp_path)
    assert readonly.folder_to_permit(f"{tmp_path}/course/bob/x") == str(tmp_path)
    # Not all of /srv because of one folder in it that is not there yet: that one has to be made first.
    assert readonly.folder_to_permit("/srv/no-such-folder/bob/x") == "/srv/no-such-folder"
    assert readonly.folder_to_permit("/srv/no-such-folder") == "/srv/no-such-folder"
    assert readonly.folder_to_permit("/srv/no-such-folder/hub.log") == "/srv/no-such-folder"
    assert readonly.folder_to_permit("/srv/hub.log") == "/srv"
    assert readonly.commands("/srv/no-such-folder").startswith(
        "sudo mkdir -p /srv/no-such-folder && sudo tljh-install config add hub.writable_paths /srv/no-such-folder"
    )
    assert "mkdir" not in readonly.commands(f"{tmp_path}/bob")
    assert "FOLDER" in readonly.commands("")


ACCOUNT = accounts.Account("jupyter-bob", 1001, 1001, "/nosuch/home")


def test_a_hook_that_may_not_write_is_told_with_the_key(monkeypatch):
    monkeypatch.setattr(spawner, "get_systemd_version", lambda: 252)

    async def prepare(self):
        return ACCOUNT

    monkeypatch.setattr(UserSpawner, "_prepare", prepare)

    def make(hook):
        config = Config()
        config.UserSpawner.pre_spawn_hook = hook
        return UserSpawner(config=config, _mock=True, user=SimpleNamespace(name="bob", admin=False, id=1, url="/user/x/"))

    def writes(_):
        raise erofs()

    async def waits(_):
        raise erofs()

    async def fine(_):
        return 5

    for hook in (writes, waits):
        with pytest.raises(SpawnFailure) as failed:
            asyncio.run(make(hook).run_pre_spawn_hook())
        for words in (failed.value.jupyterhub_message, failed.value.jupyterhub_html_message, failed.value.log_message):
            assert "/srv/homework/bob" in words
            assert "config add hub.writable_paths" in words
    assert asyncio.run(make(fine).run_pre_spawn_hook()) == 5
    assert asyncio.run(make(None).run_pre_spawn_hook()) is None

    def other(_):
        raise ValueError("another reason")

    with pytest.raises(ValueError, match="another reason"):
        asyncio.run(make(other).run_pre_spawn_hook())


def test_the_log_says_it_wherever_such_an_error_is_logged(caplog):
    readonly.listen()
    readonly.listen()
    for name in ("JupyterHub", "tornado.application"):
        logger = logging.getLogger(name)
        assert sum(isinstance(each, readonly.Hint) for each in logger.filters) == 1
        caplog.clear()
        record = logger.makeRecord(name, logging.ERROR, __file__, 1, "post_stop_hook failed: %s", ("100%",), (OSError, wrapped(erofs()), None))
        assert logger.filter(record)
        assert record.getMessage().startswith("post_stop_hook failed: 100%\n")
        assert "hub.writable_paths" in record.getMessage()
        plain = logger.makeRecord(name, logging.ERROR, __file__, 1, "other: %s", ("x",), None)
        assert logger.filter(plain)
        assert plain.getMessage() == "other: x"


def test_a_file_of_the_config_that_may_not_write_is_told_with_the_key():
    assert "config add hub.writable_paths" in readonly.permission(erofs())
    assert readonly.permission(ValueError()) == ""
