"""From a hub user's name to the name of the Linux account, which may hold far less. Pure functions.

The rule is the older TLJH's, so that homes stay where they are: `jupyter-` and the name; what has 26 or more characters
becomes its first 26, `-` and 5 hex digits of its sha256. Names that useradd or systemd would refuse are spelled differently
before that: each byte of such a character becomes `__` and two hex digits, and so does each underscore of such a name. Names
that are kept hold no `__`, so no two names are spelled alike. Only the shortening can bring two together; accounts.py sees
to that.
"""

import hashlib
import re

PREFIX = "jupyter-"
LIMIT = 26
LONGEST = 32  # that useradd takes

_KEPT = re.compile(r"[a-z0-9_.-]+")
_LITERAL = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789.-")


def spell(name: str) -> str:
    """The name in characters that useradd and unit names take; different names stay different."""
    if _KEPT.fullmatch(name) and "__" not in name:
        return name
    data = name.encode("utf-8", "surrogatepass")
    return "".join(chr(byte) if byte in _LITERAL else f"__{byte:02x}" for byte in data)


def system_name(name: str, prefix: str = PREFIX) -> str:
    """The Linux account of a hub user: at most 32 characters. Without a prefix, a site's own accounts are meant: as much as possible is kept."""
    whole = prefix + spell(name)
    if len(whole) < LIMIT or (not prefix and len(whole) <= LONGEST):
        return whole
    return f"{whole[:LIMIT]}-{hashlib.sha256(whole.encode()).hexdigest()[:5]}"


def unit_name(name: str, server: str = "") -> str:
    """The unit of a user's server. A dot in it must not end in what systemd takes for another kind of unit."""
    if not server:
        return system_name(name) + ".service"
    # No account's name holds `__s`: what follows two underscores there is two hex digits.
    digest = hashlib.sha256(f"{name}\0{server}".encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{system_name(name)}__srv-{digest}.service"
