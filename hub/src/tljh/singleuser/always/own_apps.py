"""Apps that jupyter-server-proxy shows, such as RStudio, Streamlit or VS Code. They are programs of their own behind a port, which any user of the machine can
open when it is free: what they get must not let them act for the visitor, and only the user's own are shown."""

import asyncio
import contextlib
import grp
import importlib.util
import os
import pwd
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


# As /proc/net writes them: the state of a socket that listens, and the addresses at which a program of this machine finds it. Words are in the order of the
# machine's bytes, and IPv4 within IPv6 ends with the address.
LISTENS = "0A"
EVERYWHERE, LOOPBACK, MAPPED = {"00000000", "0" * 32}, "0000000000000000" + "00000000" + "01000000", "0000000000000000FFFF0000"


def is_near(address):
    last = address[-8:] if len(address) == 8 or address.startswith(MAPPED) else ""
    return address in EVERYWHERE or address == LOOPBACK or last.endswith("7F") or (last == "00000000" and address.startswith(MAPPED))


def listeners(port, tables=("/proc/net/tcp", "/proc/net/tcp6")):
    """Whose programs listen on a port of this machine."""
    found = set()
    for table in tables:
        with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
            for fields in (line.split() for line in list(file)[1:]):
                address, _, number = fields[1].rpartition(":")
                if fields[3] == LISTENS and int(number, 16) == port and is_near(address):
                    found.add(int(fields[7]))
    return found


def is_person(uid):
    """Report whether an account is one that somebody works in. Others are root's and the system's, which may listen for all."""
    return 1000 <= uid < 60000 or uid > 65534


def admins(group="jupyterhub-admins"):
    """The accounts of admins, who could change the server itself."""
    with contextlib.suppress(KeyError):
        return {pwd.getpwnam(name).pw_uid for name in grp.getgrnam(group).gr_mem}
    return set()


def is_strangers(uids):
    """Report whether one of these accounts is another student's."""
    others = {uid for uid in uids if is_person(uid) and uid != os.getuid()}
    return bool(others) and not others <= admins()


def is_this_machine(host):
    return host.strip("[]").lower() in ("localhost", "0.0.0.0", "::", "::1") or host.startswith("127.")  # noqa: S104 - compared only


async def look(handler, host, port):
    """Refuse what would show another student's program at this server's address, where its page could do what the visitor may do. A port without a program is
    refused as well: one that comes a moment later may be anybody's."""
    if not str(port).isdigit() or int(port) == 0 or getattr(handler, "unix_socket", None) is not None or not is_this_machine(host):
        return
    found = await asyncio.to_thread(listeners, int(port))
    if not found:
        raise web.HTTPError(503, "%s", no_answer(port))
    if is_strangers(found):
        raise web.HTTPError(403, "%s", f"Port {port} of this hub is used by a program of another user, whose pages must not be shown here. {OTHER_PORT}")


OTHER_PORT = "If you meant your own app, start it on another port."


def install(handler):
    """Put it into the handler of jupyter-server-proxy."""
    request_headers, proxy, proxy_open = handler.proxy_request_headers, handler.proxy, getattr(handler, "proxy_open", None)

    def _headers(self):
        return strip(self, request_headers(self))

    async def _open(self, host, port, proxied_path=""):
        await look(self, host, port)
        return await proxy_open(self, host, port, proxied_path)

    async def _proxy(self, host, port, proxied_path):
        await look(self, host, port)
        try:
            return await proxy(self, host, port, proxied_path)
        except (ConnectionRefusedError, FileNotFoundError) as error:
            raise web.HTTPError(503, "%s", no_answer(port)) from error
        except web.HTTPError as error:  # how it passes on what its client says
            if error.status_code == 500 and NOBODY.search(str(error)):
                raise web.HTTPError(503, "%s", no_answer(port)) from error
            raise

    handler.proxy_request_headers, handler.proxy = _headers, _proxy
    if proxy_open is not None:
        handler.proxy_open = _open


if importlib.util.find_spec("jupyter_server_proxy") is not None:
    try:
        from jupyter_server_proxy.handlers import ProxyHandler
    except ImportError:
        ProxyHandler = None
    if hasattr(ProxyHandler, "proxy_request_headers") and hasattr(ProxyHandler, "proxy"):
        install(ProxyHandler)
