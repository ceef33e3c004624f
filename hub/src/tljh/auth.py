"""The first-use authenticator, made safe.

A user's first password becomes theirs. That is only right for a name that is allowed in, belongs to no admin, and has no
account of somebody who was here before.
"""

import asyncio
import pwd

from firstuseauthenticator import FirstUseAuthenticator as Upstream
from jupyterhub import orm
from jupyterhub.utils import maybe_future
from traitlets import Any, Bool, default

from . import passwords, paths
from .names import system_name
from .store import Store

# Checked against where there is no password, so that an answer takes as long for names that do not exist.
_NOBODYS = passwords.digest("nobody's password")


class FirstUseAuthenticator(Upstream):
    create_users = Bool(False, config=True, help="Let anybody in who chooses a name that is free.")
    check_passwords_on_startup = Bool(False)
    store = Any()

    @default("store")
    def _default_store(self):
        return Store()

    @default("allow_all")
    def _default_allow_all(self):
        return self.create_users

    @default("allow_existing_users")
    def _default_allow_existing(self):
        # Who was added on the admin page is allowed.
        return True

    async def authenticate(self, handler, data):
        name = self.normalize_username(data["username"])
        password = data["password"]
        if not name or name == paths.PROBE_USER or not self.validate_username(name):
            return None
        loop = asyncio.get_running_loop()
        stored = await loop.run_in_executor(None, self.store.hash_of, name)
        # A password that was set under an older rule may be short; none can be longer than bcrypt reads.
        why = passwords.trouble(password, 1 if stored else self.min_password_length)
        if stored is not None:
            if why is None and await loop.run_in_executor(None, passwords.matches, password, stored):
                return name
            return None
        refusal = await self.why_not_claimable(name)
        if refusal is None and why is None:
            digest = await loop.run_in_executor(None, passwords.digest, password)
            if await loop.run_in_executor(None, self.store.add_hash, name, digest):
                self.log.info("%s chose a password at the first log-in", name)
                return name
            return None  # somebody else was quicker
        await loop.run_in_executor(None, passwords.matches, password[:72].replace("\0", "") or "x", _NOBODYS)
        if refusal is None or refusal:
            self.say(handler, why or refusal)
        return None

    def say(self, handler, words):
        """Show words on the login form."""
        if words and hasattr(handler, "custom_login_error"):
            handler.custom_login_error = words

    async def why_not_claimable(self, name):
        """None when the next password may become this name's; else why not, "" where that is nobody's business."""
        if not await self.is_let_in(name):
            return ""
        user = self.db.query(orm.User).filter_by(name=name).first()
        if name in self.admin_users or (user is not None and user.admin):
            return f"The password of an admin is set on the server: sudo tljh-install password {name}"
        if not self.store.is_claimable(name) and has_account(name):
            return "This name has an account already. Ask an admin of the hub to set a password for it."
        return None

    async def is_let_in(self, name):
        blocked = await maybe_future(self.check_blocked_users(name, None))
        return blocked is not False and bool(await maybe_future(self.check_allowed(name, None)))

    def delete_user(self, user):
        """Keep the password: were it dropped, the next to log in by that name would get the account and all that is in it."""

    def reset_password(self, username, new_password):
        # "success" in the answer is what makes the page show it as one.
        if (why := passwords.trouble(new_password, self.min_password_length)) is not None:
            return why
        self.store.set_hash(username, passwords.digest(new_password))
        return "Your password has been changed successfully."


def has_account(name):
    try:
        pwd.getpwnam(system_name(name))
    except KeyError:
        return False
    return True
