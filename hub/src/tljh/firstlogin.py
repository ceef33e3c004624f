"""The first login of a user, who chooses a password: who may, and what the page shows. Nothing here stores anything.

Three ways, by users.first_login: "open" (whoever comes first with a name that may log in), "code" (who also knows the code that the class was given),
"password" (who has the one-time password that an admin made for the name).
"""

import hashlib
import hmac
from dataclasses import dataclass

from tornado.web import decode_signed_value

OPEN, CODE, PASSWORD = MODES = ("open", "code", "password")

_TICKET, _TICKET_DAYS = "tljh-first-login", 10 / (24 * 60)


@dataclass(frozen=True)
class Step:
    """The page on which a user chooses a password. With a ticket, a one-time password was given already."""

    name: str = ""
    ticket: str = ""
    code: bool = False  # the class code is asked for
    given: str = ""  # the class code as it was typed last


# Stands for a new password that is the one-time password.
SAME = object()


def slip(text: str) -> str:
    """A one-time password as it was made, in groups of four: it is copied from paper, by whatever a phone makes of it."""
    letters = "".join(char for char in text.casefold() if char.isalnum())
    return "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))


def ticket(handler, name: str, stored: bytes) -> str:
    """Proof that the one-time password of a name was given. It is of no use once another password is stored."""
    return handler.create_signed_value(_TICKET, f"{_mark(stored)} {name}").decode()


def ticket_holds(handler, text: str, name: str, stored: bytes | None) -> bool:
    if stored is None:
        return False
    found = decode_signed_value(handler.settings["cookie_secret"], _TICKET, text, max_age_days=_TICKET_DAYS)
    return found is not None and hmac.compare_digest(found, f"{_mark(stored)} {name}".encode())


def _mark(stored: bytes) -> str:
    return hashlib.sha256(stored).hexdigest()


def code_right(given: str, code: str) -> bool:
    """Upper and lower case and spaces around it make no difference: it is read from a blackboard."""

    def plain(text: str) -> bytes:
        return text.strip().casefold().encode("utf-8", "surrogatepass")

    return bool(code) and hmac.compare_digest(plain(given), plain(code))


# One sentence for all reasons, so that it tells nothing about any name.
REFUSED = {
    OPEN: "This name cannot choose a password here. Perhaps it has one already, or it is not on the list of this hub. Please ask your teacher.",
    CODE: "The class code is not right, or this name cannot choose a password here: perhaps it has one already. Please ask your teacher.",
    PASSWORD: "The time to choose a password is over. Please log in again.",
}
