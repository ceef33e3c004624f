"""Apps that jupyter-server-proxy shows, such as RStudio, Streamlit or VS Code. They are programs of their own behind a port, which any user of the machine can
open when it is free: what they get must not let them act for the visitor."""

import importlib.util
import re

from tornado import web

# The session of a server, also with the prefix by which browsers bind a cookie to its host.
SESSION = re.compile(r"(__Host-|__Secure-)?jupyterhub-")


def without_session(header):
    """A Cookie header without those of the hub and the server."""
    kept = (part.strip() for part in header.split(";"))
    return "; ".join(part for part in kept if part and not SESSION.match(part))


def is_token(handler):
    """Report whether the Authorization header is what the server let the visitor in by."""
    provider = getattr(handler, "identity_provider", None)
    return bool(provider is not None and provider.is_token_authenticated(handler))


def strip(handler, headers):
    """Take out of the headers of a request what is meant for the server alone."""
    cookies = without_session("; ".join(headers.get_list("Cookie")))
    headers.pop("Cookie", None)
    if cookies:
        headers["Cookie"] = cookies
    if is_token(handler) or re.match(r"token\s", headers.get("Authorization", ""), re.IGNORECASE):
        headers.pop("Authorization", None)
    return headers


# Nobody listens at a port, or there is no such socket.
NOBODY = re.compile(r"\[Errno (111|2)\]")


def no_answer(port):
    where = f"port {port}" if port else "its socket"
    return f"No program answers on {where} of this hub. Start your app, wait until it says that it is ready, and reload this page."


def install(handler):
    """Put it into the handler of jupyter-server-proxy."""
    request_headers, proxy = handler.proxy_request_headers, handler.proxy

    def _headers(self):
        return strip(self, request_headers(self))

    async def _proxy(self, host, port, proxied_path):
        try:
            return await proxy(self, host, port, proxied_path)
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise web.HTTPError(503, "%s", no_answer(port)) from error
        except web.HTTPError as error:  # how it passes on what its client says
            if error.status_code == 500 and NOBODY.search(str(error)):
                raise web.HTTPError(503, "%s", no_answer(port)) from error
            raise

    handler.proxy_request_headers, handler.proxy = _headers, _proxy


if importlib.util.find_spec("jupyter_server_proxy") is not None:
    try:
        from jupyter_server_proxy.handlers import ProxyHandler
    except ImportError:
        ProxyHandler = None
    if hasattr(ProxyHandler, "proxy_request_headers") and hasattr(ProxyHandler, "proxy"):
        install(ProxyHandler)
