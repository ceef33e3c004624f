"""Keeps secrets of visitors out of the journal of a single-user server. After an error, JupyterHub writes all headers of the request there, and Tornado its
address as it was sent: the form's token, tokens of other programs, and what extensions send are in them."""

from tornado import web
from tornado.log import app_log

try:
    from jupyterhub import log
except ImportError:
    log = None

# The headers that help to find an error, and hold no secret.
LOGGED = ("Accept", "Content-Length", "Content-Type", "Host", "Origin", "Referer", "User-Agent")


def logged(headers, scrub):
    """What the journal says of a request's headers."""
    return {name: scrub(headers[name]) if name == "Referer" else headers[name] for name in LOGGED if name in headers}


def is_no_session(record):
    """A line about each new form holds the session that it is for."""
    return not str(record.msg).startswith("Setting new xsrf cookie")


if hasattr(log, "_scrub_uri") and hasattr(log, "_scrub_headers"):
    _log_exception = web.RequestHandler.log_exception

    def _summary(self):
        return f"{self.request.method} {log._scrub_uri(self.request.uri)} ({self.request.remote_ip})"

    def _log_scrubbed(self, typ, value, tb):
        if isinstance(value, web.HTTPError):
            return _log_exception(self, typ, value, tb)
        return app_log.error("Uncaught exception %s", _summary(self), exc_info=(typ, value, tb))

    log._scrub_headers = lambda headers: logged(headers, log._scrub_uri)
    web.RequestHandler._request_summary = _summary
    web.RequestHandler.log_exception = _log_scrubbed
    app_log.addFilter(is_no_session)
