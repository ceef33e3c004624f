"""What a request says of its client is believed only if it came through the edge.

The hub's port and the proxy's can be reached by every program of the machine. A student's program that names another address there would have the limits of
attempts, and the journal, count its failures as somebody else's. The edge replaces what clients claim, and proves itself by a token that only root can read.
"""

import hmac

from tornado import httpserver

from tljh import files
from tljh.paths import Paths

HEADER = "X-Tljh-Edge"
CLAIMS = (
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Proxyscheme",
    "X-Real-Ip",
    "X-Scheme",
)

_plain_apply = httpserver._HTTPRequestContext._apply_xheaders


def sift(headers, token: str) -> None:
    """Remove the token, and without the right one also all that a client may claim of itself."""
    given = headers.get(HEADER, "")
    names = (HEADER,) if hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode()) else (HEADER, *CLAIMS)
    for name in names:
        if name in headers:
            del headers[name]


def token_of(paths: Paths) -> str:
    """The edge's token; empty where an earlier release made the installation."""
    _, _, token = (files.read_secret(paths.edge_env) or "").partition("TLJH_EDGE_TOKEN=")
    return token.strip()


def require(token: str) -> None:
    """Go by the token from now on. Without one nothing can be told apart."""

    def apply(context, headers):
        sift(headers, token)
        _plain_apply(context, headers)

    httpserver._HTTPRequestContext._apply_xheaders = apply if token else _plain_apply
