import pytest

from tljh import otp

# RFC 6238, appendix B (SHA-1), the last six digits.
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
VECTORS = [(59, 287082), (1111111109, 81804), (1111111111, 50471), (1234567890, 5924), (2000000000, 279037), (20000000000, 353130)]


@pytest.mark.parametrize(("clock", "number"), VECTORS)
def test_the_standards_examples(clock, number):
    assert otp.get_totp(SECRET, clock) == number
    assert otp.valid_totp(f"{number:06d}", SECRET, clock)
    assert otp.valid_totp(number, SECRET.lower(), clock + 30)
    assert not otp.valid_totp(number, SECRET, clock + 90)


@pytest.mark.parametrize("token", ["", "abc", "12 34", "٣٣٣٣٣٣", "1234567", -1, "-00001"])
def test_what_is_no_number_is_not_valid(token):
    assert not otp.valid_totp(token, SECRET, 59)


def test_nativeauthenticator_works_with_it():
    import sys

    from nativeauthenticator.orm import UserInfo

    assert sys.modules["onetimepass"] is otp
    user = UserInfo(username="bob", password=b"x")
    assert user.is_valid_token(f"{otp.get_totp(user.otp_secret):06d}")
    assert not user.is_valid_token("not a number")
