"""Which Linux account a hub user works in."""

import hashlib
import re

PREFIX = "jupyter-"

# Longer names are shortened; useradd takes 32 characters.
LONG = 26

# What useradd takes everywhere. The older TLJH handed names on as they were, so dots stay, too.
_PLAIN = re.compile(r"[a-z0-9._-]+")
_REFUSED = re.compile(r"[^a-z0-9._-]")


def system_name(name):
    """The name of the account of the hub user `name`.

    Short plain names are kept. Others are cut, or have what useradd refuses replaced, and are told apart by a digest
    of the whole name. A digest is short, so who owns an account is on record as well (see `accounts`).
    """
    whole = PREFIX + name
    if len(whole) < LONG and _PLAIN.fullmatch(whole):
        return whole
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_REFUSED.sub('_', whole)[:LONG]}-{digest[:5]}"
