"""What the hub's own pages tell browsers, so that one page cannot be used by another."""

from jupyterhub import _xsrf_utils
from jupyterhub.handlers import BaseHandler
from traitlets.config import Config

POLICY = "frame-ancestors 'none'; base-uri 'self'; object-src 'none'"

HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}

_plain_policy = BaseHandler.content_security_policy
_plain_set_cookie = BaseHandler.set_cookie
_plain_validate_next = BaseHandler._validate_next_url
_plain_redirect = BaseHandler.redirect


def _policy(handler) -> str:
    # JupyterHub's own begins with frame-ancestors; handlers of its API add to what this returns.
    return POLICY + "".join(f"; {part.strip()}" for part in _plain_policy.fget(handler).split(";") if part.strip().startswith("report-uri"))


def _set_cookie(handler, name, value, *arguments, **options):
    """JupyterHub marks all its cookies as Secure over HTTPS but this one."""
    if name == "_xsrf" and handler.request.protocol == "https":
        options["secure"] = True
    return _plain_set_cookie(handler, name, value, *arguments, **options)


def _validate_next(handler, address: str) -> str:
    """What is no address is none to go to; JupyterHub answers with an error of its own."""
    if any(char < " " or char == "\x7f" for char in address):
        return ""
    try:
        return _plain_validate_next(handler, address)
    except ValueError:
        return ""


def _redirect(handler, url, *arguments, **options):
    try:
        return _plain_redirect(handler, url, *arguments, **options)
    except ValueError:  # as above, in an address that something else made
        return _plain_redirect(handler, handler.hub.base_url)


class _Anywhere:
    """Stands for all addresses where JupyterHub ties the form of a log-in to the visitor's.

    A browser that knows the hub by IPv6 and by IPv4 may fetch the form by one and send it by the other, and so may one that changes its network.
    """

    def __contains__(self, address) -> bool:
        return True

    def __str__(self) -> str:
        return "anywhere"


def harden(c: Config) -> None:
    _xsrf_utils._anonymous_ip_cidrs = [_Anywhere()]
    BaseHandler.content_security_policy = property(_policy)
    BaseHandler.set_cookie = _set_cookie
    BaseHandler._validate_next_url = _validate_next
    BaseHandler.redirect = _redirect
    c.JupyterHub.tornado_settings.update({"headers": dict(HEADERS)})
