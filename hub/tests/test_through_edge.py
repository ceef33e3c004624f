"""Which of a request's words about its client the hub believes."""

import asyncio
import json

import pytest
from tornado import httpclient, httpserver, netutil, web

from tljh import through_edge

TOKEN = "the-edges-token"


@pytest.mark.parametrize(
    ("headers", "seen"),
    [
        ({"X-Forwarded-For": "203.0.113.1", "X-Forwarded-Proto": "https", "X-Tljh-Edge": TOKEN}, ["203.0.113.1", "https"]),
        ({"X-Forwarded-For": "203.0.113.1", "X-Forwarded-Proto": "https"}, ["127.0.0.1", "http"]),
        ({"X-Real-Ip": "203.0.113.1", "X-Scheme": "https", "Forwarded": "for=203.0.113.1;proto=https"}, ["127.0.0.1", "http"]),
        ({"X-Forwarded-For": "203.0.113.1", "X-Tljh-Edge": ""}, ["127.0.0.1", "http"]),
        ({"X-Forwarded-For": "203.0.113.1", "X-Tljh-Edge": f"{TOKEN}x"}, ["127.0.0.1", "http"]),
        ({}, ["127.0.0.1", "http"]),
    ],
)
def test_only_the_edge_is_believed(headers, seen):
    through_edge.require(TOKEN)
    try:
        found = asyncio.run(ask(headers))
    finally:
        through_edge.require("")
    assert found["seen"] == seen
    assert through_edge.HEADER not in found["left"]
    assert bool(found["left"]) is (headers.get(through_edge.HEADER) == TOKEN)


async def ask(headers):
    """What a server like the hub's makes of a request."""
    server = httpserver.HTTPServer(web.Application([("/", Show)]), xheaders=True)
    sockets = netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/"
    try:
        answer = await httpclient.AsyncHTTPClient().fetch(url, headers=headers)
    finally:
        server.stop()
    return json.loads(answer.body)


class Show(web.RequestHandler):
    def get(self):
        left = [name for name in (through_edge.HEADER, *through_edge.CLAIMS) if name in self.request.headers]
        self.finish({"seen": [self.request.remote_ip, self.request.protocol], "left": left})


def test_the_token_is_in_a_file_of_roots(here):
    assert through_edge.token_of(here) == ""
    here.edge_env.write_text("TLJH_EDGE_TOKEN=abc\n")
    assert through_edge.token_of(here) == "abc"
