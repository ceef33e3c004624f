"""What the journal of a single-user server does not hold."""

import subprocess

from jupyter import python

from tljh.spawner import START

# A server with the log of JupyterHub's, and a page that fails.
FAILS = """
import asyncio, logging, runpy, sys
from jupyterhub.log import log_request
from tornado import httpclient, httpserver, netutil, web

runpy.run_path(sys.argv[1])
logging.basicConfig(stream=sys.stdout)


class Fails(web.RequestHandler):
    async def get(self):
        if self.get_argument("kind") == "refused":
            raise web.HTTPError(400, "not so")
        raise ZeroDivisionError("in the page")


async def main():
    sockets = netutil.bind_sockets(0, "127.0.0.1")
    httpserver.HTTPServer(web.Application([("/fails", Fails)], log_function=log_request)).add_sockets(sockets)
    address = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/fails?token=SECRET1&_xsrf=SECRET2"
    headers = {"X-Xsrftoken": "SECRET3", "X-Api-Key": "SECRET4", "Cookie": "not valid,SECRET5; a=SECRET6", "Authorization": "SECRET7"}
    headers |= {"Referer": "http://hub.test/?token=SECRET8", "User-Agent": "a browser"}
    for kind in ("refused", "failed"):
        await httpclient.AsyncHTTPClient().fetch(f"{address}&kind={kind}", headers=headers, raise_error=False)


asyncio.run(main())
logging.getLogger("tornado.application").error("Setting new xsrf cookie for %r %r", b"SECRET9", {})
"""


def test_failed_requests_are_logged_without_secrets():
    own = START.parent / "always" / "own_masks.py"
    done = subprocess.run([python(), "-c", FAILS, own], check=True, capture_output=True, text=True, timeout=60)
    text = done.stdout + done.stderr
    assert "ZeroDivisionError: in the page" in text, "failures are logged"
    assert "400 GET /fails?token=[secret]" in text
    assert '"User-Agent": "a browser"' in text
    assert "SECRET" not in text
