"""Limits of login attempts, in front of the hashing of passwords. Nothing here knows JupyterHub.

Three limits, each with its own reason. One name from one address: guessing. One name from all addresses: guessing from many machines; who has logged in from an
address before is not held up there by what happens elsewhere. One address: trying many names; its room is large enough for a class behind one address. Every
delay ends: nobody is locked out for good, and attempts during a delay do not extend it.
"""

import asyncio
import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

PAIR_FREE, PAIR_LONGEST = 5, 300
NAME_FREE, NAME_LONGEST = 20, 30
ADDRESS_FREE, ADDRESS_LONGEST = 100, 60
FORGET = 3600  # seconds without a failure after which it is as if there had been none
ENTRIES = 20_000  # of each kind


def network(address: str) -> str:
    """What counts as one address: a machine with IPv6 has a whole /64 to itself. The edge counts connections in the same way."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))


@dataclass
class Failures:
    count: int = 0
    last: float = 0.0
    until: float = 0.0


class Tally:
    """Failures by key, with a delay that doubles with each failure beyond the free ones."""

    def __init__(self, free: int, longest: float, clock: Callable[[], float]):
        self.free, self.longest, self.clock = free, longest, clock
        self.entries: OrderedDict[object, Failures] = OrderedDict()

    def wait(self, key: object) -> float:
        """Seconds until the next attempt is allowed."""
        found = self.entries.get(key)
        return max(0.0, found.until - self.clock()) if found else 0.0

    def fail(self, key: object) -> None:
        now = self.clock()
        found = self.entries.pop(key, None)
        if found is None or now - found.last > FORGET:
            found = Failures()
        found.count, found.last = found.count + 1, now
        if found.count >= self.free:
            found.until = now + min(self.longest, 2.0 ** min(found.count - self.free, 20))
        self.entries[key] = found
        while len(self.entries) > ENTRIES:
            self.entries.popitem(last=False)

    def forget(self, key: object) -> None:
        self.entries.pop(key, None)

    def forgive(self, key: object) -> None:
        """Take one failure back."""
        if found := self.entries.get(key):
            found.count = max(0, found.count - 1)


class Limiter:
    """Decides whether a login may be tried now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.pairs = Tally(PAIR_FREE, PAIR_LONGEST, clock)
        self.names = Tally(NAME_FREE, NAME_LONGEST, clock)
        self.addresses = Tally(ADDRESS_FREE, ADDRESS_LONGEST, clock)
        self.known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait(self, name: str, address: str) -> float:
        """Seconds until this name may be tried from this address."""
        address = network(address)
        pair = self.pairs.wait((name, address))
        if (name, address) in self.known:
            return pair
        return max(pair, self.names.wait(name), self.addresses.wait(address))

    def failed(self, name: str, address: str) -> None:
        address = network(address)
        self.pairs.fail((name, address))
        self.names.fail(name)
        self.addresses.fail(address)

    def succeeded(self, name: str, address: str) -> None:
        address = network(address)
        self.pairs.forget((name, address))
        self.addresses.forgive(address)
        self.known.pop((name, address), None)
        self.known[name, address] = None
        while len(self.known) > ENTRIES:
            self.known.popitem(last=False)


class Busy(Exception):
    """More attempts wait already than is allowed."""


class Turns:
    """Lets a few attempts run at a time. Addresses take turns, so that a flood from one does not hold up the others."""

    def __init__(self, running: int = 2, waiting: int = 60, in_all: int = 600):
        self.free, self.waiting, self.in_all = running, waiting, in_all
        self.queues: OrderedDict[str, deque[asyncio.Future]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, address: str):
        await self._take(network(address))
        try:
            yield
        finally:
            self._give()

    async def _take(self, address: str) -> None:
        if self.free > 0 and not self.queues:
            self.free -= 1
            return
        queue = self.queues.get(address, ())
        if len(queue) >= self.waiting or sum(map(len, self.queues.values())) >= self.in_all:
            raise Busy
        mine = asyncio.get_running_loop().create_future()
        self.queues.setdefault(address, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._give()
            raise

    def _give(self) -> None:
        while self.queues:
            address, queue = self.queues.popitem(last=False)
            mine = queue.popleft()
            if queue:
                self.queues[address] = queue  # behind the others
            if not mine.done():
                mine.set_result(None)
                return
        self.free += 1
