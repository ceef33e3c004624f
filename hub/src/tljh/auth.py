"""Log-in with passwords that users choose when they first come, made safe for a class.

A password is stored only for a name that may log in. Admins' names, and names whose account is there already, can't be claimed:
root sets their password. Taking a user off the hub keeps the password, so nobody else can come back in that name.
"""

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor

from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler, LoginHandler
from jupyterhub.utils import maybe_future
from tornado import web
from traitlets import Any, Bool, Integer, default

from tljh import accounts, passwords
from tljh.paths import PROBE_USER, Paths


@functools.cache
def _nobodys_digest() -> bytes:
    """Compared with where there is none, so that an answer takes as long for names that nobody has."""
    return passwords.digest("a password that nobody has")


class PasswordLoginHandler(LoginHandler):
    """The log-in form, which can say why a password was not taken."""

    login_problem = ""

    def _render(self, login_error=None, username=None, **kwargs):
        return super()._render(self.login_problem or login_error, username, **kwargs)

    async def post(self):
        # JupyterHub's own code takes a missing field for an error of the server.
        for needed in ("username", "password"):
            for arguments in (self.request.body_arguments, self.request.arguments):
                arguments.setdefault(needed, [b""])
        await super().post()


class ChangePasswordHandler(BaseHandler):
    """The page on which those who are logged in change their password."""

    @web.authenticated
    async def get(self):
        self.finish(await self.render_template("change_password.html"))

    @web.authenticated
    async def post(self):
        problem = await self.authenticator.change_password(self.current_user.name, self.get_body_argument("password", "", strip=False))
        if problem:
            self.set_status(400)
        message = problem or "Your password has been changed."
        self.finish(await self.render_template("change_password.html", message=message, done=problem is None))


class FirstUseAuthenticator(Authenticator):
    """Users choose their password when they first log in."""

    create_users = Bool(False, config=True, help="Let anybody in who comes with a new name.")
    min_password_length = Integer(passwords.DEFAULT_MIN_LENGTH, min=1, config=True, help="The fewest characters of a password.")

    store = Any(help="Where passwords are kept.")

    # Hashing takes a tenth of a second of a core: never on the event loop, and never on so many threads that the hub starves.
    _hashing = Any()

    @default("store")
    def _default_store(self):
        return passwords.Passwords(Paths.here().passwords)

    @default("_hashing")
    def _default_hashing(self):
        return ThreadPoolExecutor(max_workers=2, thread_name_prefix="passwords")

    @default("allow_existing_users")
    def _allow_existing_users_default(self):
        return True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # JupyterHub adds to and takes from allowed_users as it runs; what the config says is told apart here.
        self._configured = frozenset(self.normalize_username(name) for name in self.allowed_users)
        if self.create_users and not self._configured:
            self.allow_all = True

    def get_handlers(self, app):
        app.template_vars.setdefault("change_password", True)
        return [(r"/login", PasswordLoginHandler), (r"/auth/change-password", ChangePasswordHandler)]

    def validate_username(self, username):
        return passwords.name_problem(username) is None and super().validate_username(username)

    def delete_user(self, user):
        """The password stays, and so does the right to log in that the config gives."""
        super().delete_user(user)
        if user.name in self._configured:
            self.allowed_users.add(user.name)

    async def authenticate(self, handler, data):
        name = self.normalize_username(data.get("username") or "")
        password = data.get("password") or ""
        stored, allowed = None, False
        if name != PROBE_USER and self.validate_username(name):
            stored = await self._in_thread(self.store.get, name)
            allowed = await self._may_enter(name)
        # Always one comparison, whether there is something to compare with or not.
        right = await self._in_thread(lambda: passwords.matches(password, stored or _nobodys_digest()))
        if not allowed:
            return None
        if stored is None:
            return await self._first_use(handler, name, password)
        if not right and (problem := passwords.problem(password, 0)):
            return self._refuse(handler, problem)
        return name if right else None

    async def _first_use(self, handler, name, password):
        if not await self._claimable(handler, name):
            self.log.warning("%s has no password, and must not choose one at log-in. Set it with: sudo tljh-install password %s", name, name)
            return self._refuse(
                handler,
                f"There is no password for this name yet, and it cannot be chosen here. An admin of this hub sets it with: sudo tljh-install password {name}",
            )
        if problem := passwords.problem(password, self.min_password_length):
            return self._refuse(handler, problem)
        if await self._in_thread(self.store.add, name, await self._in_thread(passwords.digest, password)):
            self.log.info("%s chose a password at first log-in", name)
            return name
        return None  # somebody else was faster: their password holds

    @staticmethod
    def _refuse(handler, words):
        handler.login_problem = words

    async def _may_enter(self, name: str) -> bool:
        """What JupyterHub asks after authenticate, asked before anything is stored."""
        if not await maybe_future(self.check_blocked_users(name, {"name": name})):
            return False
        return self.allow_all or bool(await maybe_future(self.check_allowed(name, {"name": name})))

    async def _claimable(self, handler, name: str) -> bool:
        """Whether whoever comes first may choose this name's password."""
        user = handler.find_user(name)
        if name in {self.normalize_username(admin) for admin in self.admin_users} or (user is not None and user.admin):
            return False
        if await self._in_thread(self.store.let_go, name):
            return True
        return not await asyncio.to_thread(accounts.exists, name)

    async def change_password(self, name: str, password: str) -> str | None:
        """Store a new password; returns what is wrong with it."""
        if problem := passwords.problem(password, self.min_password_length):
            return problem
        self.store.set(name, await self._in_thread(passwords.digest, password))
        self.log.info("%s changed the password", name)
        return None

    async def _in_thread(self, function, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self._hashing, function, *arguments)
