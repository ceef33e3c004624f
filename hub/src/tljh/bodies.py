"""What connections and requests may take of the hub, which holds their bodies in memory.

Tornado takes 100 MiB in each request, from anybody, and waits for the rest without end. What is sent to the hub is forms and lists of names: nothing of it is
large. Bodies that are still arriving share a fixed amount of memory; when it is used up, the biggest of them is given up, which a log-in never is.

Every program of the machine reaches the hub's port. Connections without a complete request are counted, so that one student's programs cannot use up the
files that the hub may open.
"""

from collections import OrderedDict

from tornado import httpserver, iostream, web

LIMIT = 256 << 10  # of one body
ALL = 32 << 20  # of all that are still arriving
TAKES = 60.0  # seconds that a body may take
RESTING = 2000  # connections without a complete request


class Unfinished:
    """Bodies that are still arriving, by what takes each, in the order in which they began."""

    def __init__(self, most: int = ALL):
        self.most, self.held = most, 0
        self.sizes: dict[web._HandlerDelegate, int] = {}

    def add(self, taker: web._HandlerDelegate, size: int) -> None:
        self.sizes[taker] = self.sizes.get(taker, 0) + size
        self.held += size
        while self.held > self.most:
            self._give_up(max(self.sizes, key=self.sizes.__getitem__))

    def forget(self, taker: web._HandlerDelegate) -> None:
        self.held -= self.sizes.pop(taker, 0)

    def _give_up(self, taker: web._HandlerDelegate) -> None:
        self.forget(taker)
        taker.chunks = bytearray()
        taker.connection.stream.close()


class Resting:
    """Connections without a complete request, those first that have been so for longest."""

    def __init__(self, most: int = RESTING):
        self.most = most
        self.streams: OrderedDict[iostream.IOStream, None] = OrderedDict()

    def add(self, stream: iostream.IOStream) -> None:
        self.streams[stream] = None
        while len(self.streams) > self.most:
            self.streams.popitem(last=False)[0].close()

    def forget(self, stream: iostream.IOStream) -> None:
        self.streams.pop(stream, None)


_plain_initialize = httpserver.HTTPServer.initialize
_plain_request = httpserver.HTTPServer.start_request
_plain_end = httpserver.HTTPServer.on_close
_plain_received = web._HandlerDelegate.data_received
_plain_finish = web._HandlerDelegate.finish
_plain_closed = web._HandlerDelegate.on_connection_close


def limit(limit: int = LIMIT, in_all: int = ALL, takes: float = TAKES, resting: int = RESTING) -> Unfinished:
    """Hold all servers of this process to the limits from now on."""
    unfinished, rest = Unfinished(in_all), Resting(resting)

    def initialize(server, *arguments, **options):
        _plain_initialize(server, *arguments, **({"max_body_size": limit, "body_timeout": takes} | options))

    def request(server, connection, exchange):
        """Called when a connection begins, and after each answer."""
        rest.add(connection.stream)
        return _plain_request(server, connection, exchange)

    def end(server, connection):
        rest.forget(connection.stream)
        _plain_end(server, connection)

    def received(taker, data):
        done = _plain_received(taker, data)
        if not taker.stream_request_body:
            unfinished.add(taker, len(data))
        return done

    def finish(taker):
        unfinished.forget(taker)
        rest.forget(taker.connection.stream)
        _plain_finish(taker)

    def closed(taker):
        unfinished.forget(taker)
        _plain_closed(taker)

    httpserver.HTTPServer.initialize = initialize
    httpserver.HTTPServer.start_request = request
    httpserver.HTTPServer.on_close = end
    web._HandlerDelegate.data_received = received
    web._HandlerDelegate.finish = finish
    web._HandlerDelegate.on_connection_close = closed
    return unfinished


def lift() -> None:
    httpserver.HTTPServer.initialize = _plain_initialize
    httpserver.HTTPServer.start_request = _plain_request
    httpserver.HTTPServer.on_close = _plain_end
    web._HandlerDelegate.data_received = _plain_received
    web._HandlerDelegate.finish = _plain_finish
    web._HandlerDelegate.on_connection_close = _plain_closed
