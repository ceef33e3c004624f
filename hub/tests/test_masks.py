"""What the journal of the hub does not hold."""

import logging

import pytest
from jupyterhub import _xsrf_utils, log
from jupyterhub.handlers import BaseHandler
from jupyterhub.handlers.pages import HomeHandler
from tornado.log import app_log, gen_log

from tljh import masks, passwords


@pytest.fixture
def written(monkeypatch):
    """All that is logged from now on, with masks in place."""
    monkeypatch.setattr(BaseHandler, "log_exception", BaseHandler.log_exception)
    monkeypatch.setattr(log, "_scrub_headers", log._scrub_headers)
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append(self.format(record))

    keep, loggers = Keep(level=0), [app_log, gen_log, logging.getLogger("tornado.access"), logging.getLogger("JupyterHub")]
    for logger in loggers:
        logger.addHandler(keep)
    masks.mask()
    yield lines
    for logger in loggers:
        logger.removeHandler(keep)
    _xsrf_utils.app_log.removeFilter(masks.is_no_session)


def test_refused_and_failed_requests_are_logged_without_secrets(here, hub, written, monkeypatch):
    passwords.Passwords(here.passwords).set("bob", passwords.digest("correct-horse"))

    async def fails(handler):
        raise ZeroDivisionError("in the page")

    monkeypatch.setattr(HomeHandler, "get", fails)

    async def test(visitor):
        await visitor.log_in("bob", "correct-horse")
        session = next(cookie.value for cookie in visitor.session.cookie_jar if cookie.key == "jupyterhub-session-id")
        secret = {"X-Xsrftoken": "SECRET5", "X-Api-Key": "SECRET6", "Cookie": "not valid,SECRET7", "Referer": "http://hub.test/?token=SECRET8"}
        headers = {"Sec-Fetch-Mode": "cors", "User-Agent": "a browser", **secret}
        statuses = []
        for page in ("api/users", "api/oauth2/authorize", "home", "nowhere", "spawn/carol"):
            for method in ("GET", "POST"):
                address = f"{visitor.url}{page}?token=SECRET1&_xsrf=SECRET2&code=SECRET3&state=SECRET4"
                async with visitor.session.request(method, address, allow_redirects=False, headers=headers) as reply:
                    statuses.append(reply.status)
        assert 403 in statuses
        assert 500 in statuses
        text = "\n".join(written)
        assert "in the page" in text, "failures are logged"
        assert '"User-Agent": "a browser"' in text
        assert "403 POST /hub/api/users?token=[secret]" in text
        assert "SECRET" not in text
        assert session not in text

    hub(test, allowed_users={"bob"})
