"""Keeps secrets of visitors out of the journal: tornado writes addresses as they are into its lines about refused and failed requests, and JupyterHub all
headers of a request that failed."""

import logging

from jupyterhub import _xsrf_utils, log
from jupyterhub.handlers import BaseHandler
from jupyterhub.log import _scrub_uri
from tornado import web
from tornado.log import app_log, gen_log

# The headers that help to find an error, and hold no secret.
LOGGED = ("Accept", "Content-Length", "Content-Type", "Host", "Origin", "Referer", "User-Agent")


def logged(headers) -> dict:
    """What the journal says of a request's headers."""
    return {name: _scrub_uri(headers[name]) if name == "Referer" else headers[name] for name in LOGGED if name in headers}


def _summary(handler) -> str:
    return f"{handler.request.method} {_scrub_uri(handler.request.uri)} ({handler.request.remote_ip})"


def _log_exception(handler, kind, error, traceback) -> None:
    if not isinstance(error, web.HTTPError):
        app_log.error("Uncaught exception %s", _summary(handler), exc_info=(kind, error, traceback))
    elif error.log_message:
        gen_log.warning("%d %s: %s", error.status_code, _summary(handler), error.get_message())


def is_no_session(record: logging.LogRecord) -> bool:
    """A line about each new form holds the session that it is for."""
    return not str(record.msg).startswith("Setting new xsrf cookie")


def mask() -> None:
    BaseHandler.log_exception = _log_exception
    log._scrub_headers = logged
    _xsrf_utils.app_log.addFilter(is_no_session)
