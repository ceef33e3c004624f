"""One-time passwords by the clock (RFC 6238): the part of the module `onetimepass` that NativeAuthenticator uses."""

import base64
import binascii
import hashlib
import hmac
import struct
import time

STEP = 30
DIGITS = 6


def get_totp(secret: str, clock: float | None = None) -> int:
    """The number that an authenticator app shows for a base32 secret; ValueError if it is none."""
    try:
        key = base64.b32decode(secret.replace(" ", "").upper() + "=" * (-len(secret.replace(" ", "")) % 8))
    except binascii.Error as error:
        raise ValueError("not a base32 secret") from error
    counter = int((time.time() if clock is None else clock) // STEP)
    digest = hmac.new(key, struct.pack(">Q", counter), hashlib.sha1).digest()
    offset = digest[-1] & 0xF
    return (struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF) % 10**DIGITS


def valid_totp(token: str | int, secret: str, clock: float | None = None, window: int = 1) -> bool:
    """Whether a token fits now or one step of 30 s to either side, as clocks of phones differ."""
    text = str(token).strip()
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        return False
    now = time.time() if clock is None else clock
    fits = [hmac.compare_digest(f"{get_totp(secret, now + step * STEP):06d}", text.zfill(DIGITS)) for step in range(-window, window + 1)]
    return any(fits)
