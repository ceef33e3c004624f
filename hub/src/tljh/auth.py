"""Log-in with passwords that users choose when they first come, made safe for a class.

A password is stored only for a name that may log in, and only when its user has typed it twice on the page that says so. Admins' names,
and names whose account is there already, can't be claimed: root sets their password. Taking a user off the hub keeps
the password, so nobody else can come back in that name.
"""

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor

from jupyterhub import orm
from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler, LoginHandler
from jupyterhub.utils import maybe_future
from tornado import web
from traitlets import Any, Bool, Enum, Integer, Unicode, default

from tljh import accounts, confirm, firstlogin, guard, logouts, passwords
from tljh.paths import PROBE_USER, Paths


@functools.cache
def _nobodys_digest() -> bytes:
    """Compared with where there is none, so that an answer takes as long for names that nobody has."""
    return passwords.digest("a password that nobody has")


WRONG = "Invalid username or password."


class PasswordLoginHandler(LoginHandler):
    """The log-in form, which can say why a password was not taken."""

    login_problem = ""
    step: firstlogin.Step | None = None  # the page on which a password is chosen
    reached = False  # just now, which is no failure

    def _render(self, login_error=None, username=None, **kwargs):
        step = self.step or self._wanted(username)
        if self.reached:
            self.set_status(200)
            login_error = None
        kwargs |= {"tljh_first": step, "tljh_first_offered": self.authenticator.first_login != firstlogin.PASSWORD}
        return super()._render(self.login_problem or login_error, username, **kwargs)

    def _wanted(self, username) -> firstlogin.Step | None:
        """The page for a first login, where somebody asked for it."""
        asked = self.get_argument("first", "") or "repeat" in self.request.body_arguments
        if not asked or self.authenticator.first_login == firstlogin.PASSWORD:
            return None
        given = self.get_body_argument("code", "") if self.request.method == "POST" else ""
        return firstlogin.Step(username or "", code=self.authenticator.first_login == firstlogin.CODE, given=given)

    def set_login_cookie(self, user):
        """Called for a password that was right, and for a session that is logged in already, which proves nothing."""
        super().set_login_cookie(user)
        if self.request.method == "POST":
            guard.proofs(self).give(user.id, self.get_session_cookie())

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
        status, problem = await self._change()
        if problem:
            self.set_status(status)
        message = problem or "Your password has been changed."
        self.finish(await self.render_template("change_password.html", message=message, done=problem is None))

    async def _change(self) -> tuple[int, str | None]:
        """The status of the answer, and what is wrong."""
        name = self.current_user.name
        password = self.get_body_argument("password", "", strip=False)
        if problem := passwords.problem(password, self.authenticator.min_password_length):
            return 400, problem
        if password != self.get_body_argument("repeat", password, strip=False):
            return 400, "The two new passwords differ. Nothing was changed."
        try:
            if not await self.authenticator.proves(self, name, self.get_body_argument("old_password", "", strip=False)):
                return 403, "That is not your current password. Nothing was changed."
        except web.HTTPError as error:
            return error.status_code, error.get_message()
        problem = await self.authenticator.change_password(name, password)
        if problem is None:
            guard.end_other_sessions(self, self.current_user)
            guard.proofs(self).give(self.current_user.id, self.get_session_cookie())
        return 400, problem


class FirstUseAuthenticator(Authenticator):
    """Users choose their password when they first log in."""

    create_users = Bool(False, config=True, help="Let anybody in who comes with a new name.")
    first_login = Enum(
        firstlogin.MODES, firstlogin.OPEN, config=True, help="Who chooses the password of a name that has none: the first, who knows the class code, or nobody."
    )
    class_code = Unicode("", config=True, help="What a class is given for first logins, with first_login = code.")
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
        # JupyterHub calls this for every page; the template of the admin page, what it returns.
        app.template_vars.setdefault("tljh_unclaimed", lambda *_user: functools.partial(self.unclaimed, app))
        return [(r"/login", PasswordLoginHandler), (r"/auth/change-password", ChangePasswordHandler), *confirm.HANDLERS]

    def validate_username(self, username):
        return passwords.name_problem(username) is None and super().validate_username(username)

    def delete_user(self, user):
        """The password stays, and so does the right to log in that the config gives."""
        super().delete_user(user)
        if self.store.get(user.name) is not None:
            self.log.info(
                "%s is deleted, and the password stays, as account and home do: if another gets this name, first tljh-install password --one-time %s",
                *(user.name, user.name),
            )
        if user.name in self._configured:
            self.allowed_users.add(user.name)

    async def authenticate(self, handler, data):
        name = await self._authenticate(handler, data)
        # Before there is a session by the new password.
        if name and (changed := await asyncio.to_thread(self.store.to_log_out)):
            logouts.log_out(handler.db, self.store, changed)
        return name

    async def _authenticate(self, handler, data):
        name = self.normalize_username(data.get("username") or "")
        password = data.get("password") or ""
        # Whatever the name is: what can't be anybody's password is refused before anything is looked up.
        if problem := passwords.problem(password, 0):
            return self._refuse(handler, problem)
        if "repeat" in data:
            return await self._choose(handler, name, password, data)
        result = await guard.attempt(handler, name, lambda: self._check(handler, name, password))
        if isinstance(result, firstlogin.Step):
            handler.step, handler.reached = result, True
            return None
        if not result:
            self._explain(handler, password)
        return result

    def _explain(self, handler, password) -> None:
        """Say more about a log-in that failed, if there is more to say: for every name, so that it tells nothing about any."""
        if self.first_login == firstlogin.CODE:
            self._refuse(handler, f"{WRONG} Is this your first time here? Then choose a password with the link below.")
        elif self.first_login == firstlogin.PASSWORD:
            self._refuse(handler, f"{WRONG} Is this your first time here? Then use the one-time password from your teacher.")
        elif passwords.problem(password, self.min_password_length):
            self._refuse(handler, f"{WRONG} Is this your first time here? Then choose a password of at least {self.min_password_length} characters.")
        else:
            self._refuse(handler, f"{WRONG} Have you forgotten your password? Your teacher can give you a new one.")

    async def _choose(self, handler, name, password, data):
        """Take the password that a user chose at the first log-in. What the form lacks is said before the name is looked at."""
        ticket = data.get("ticket") or ""
        handler.step = firstlogin.Step(name, ticket, self.first_login == firstlogin.CODE and not ticket, data.get("code") or "")
        if problem := passwords.problem(password, self.min_password_length):
            return self._refuse(handler, problem)
        if password != data["repeat"]:
            return self._refuse(handler, "The two passwords differ. Please type the same password twice.")
        if ticket:
            chosen = await guard.attempt(handler, name, lambda: self._replace(handler, name, password, ticket))
        else:
            chosen = await guard.attempt(handler, name, lambda: self._claim(handler, name, password, data.get("code") or ""))
        if chosen is firstlogin.SAME:
            return self._refuse(handler, "This is the one-time password. Please choose another one.")
        if not chosen:
            if ticket:
                handler.step = None
            self._refuse(handler, firstlogin.REFUSED[firstlogin.PASSWORD if ticket else self.first_login])
        return chosen

    async def proves(self, handler, name: str, password: str) -> bool:
        """Whether it is the password of a user who is logged in, within the limits of attempts."""

        async def check():
            stored = await self._in_thread(self.store.get, name)
            right = await self._in_thread(passwords.matches, password, stored or _nobodys_digest())
            return right and stored is not None

        return await guard.attempt(handler, name, check)

    async def _look_up(self, name) -> tuple[bytes | None, bool]:
        """The digest of a name, and whether it may log in."""
        if name == PROBE_USER or not self.validate_username(name):
            return None, False
        return await self._in_thread(self.store.get, name), await self._may_enter(name)

    async def _check(self, handler, name, password):
        stored, allowed = await self._look_up(name)
        one_time = await self._in_thread(self.store.is_one_time, name)
        given = firstlogin.slip(password) if one_time else password
        # Always one comparison, whether there is something to compare with or not.
        right = await self._in_thread(lambda: passwords.matches(given, stored or _nobodys_digest()))
        if not allowed:
            return None
        if stored is None:
            # With a class code, only who knows it learns which names are free.
            long_enough = not passwords.problem(password, self.min_password_length)
            return firstlogin.Step(name) if self.first_login == firstlogin.OPEN and long_enough and await self._claimable(handler, name) else None
        if right and one_time:
            return firstlogin.Step(name, firstlogin.ticket(handler, name, stored))
        return name if right else None

    async def _claim(self, handler, name, password, code):
        """Store the first password of a name that has none."""
        stored, allowed = await self._look_up(name)
        value = await self._in_thread(passwords.digest, password)  # for every name, as it takes time
        known = self.first_login == firstlogin.OPEN or (self.first_login == firstlogin.CODE and firstlogin.code_right(code, self.class_code))
        if not known or not allowed or stored is not None or not await self._claimable(handler, name):
            return None
        if await self._in_thread(self.store.add, name, value):
            self.log.info("%s chose a password at first log-in, from address=%s", name, handler.request.remote_ip)
            return name
        return None  # somebody else was faster: their password holds

    async def _replace(self, handler, name, password, ticket):
        """Store what a user chose in place of a one-time password."""
        stored, allowed = await self._look_up(name)
        value = await self._in_thread(passwords.digest, password)
        if not allowed or not firstlogin.ticket_holds(handler, ticket, name, stored) or not await self._in_thread(self.store.is_one_time, name):
            return None
        if await self._in_thread(passwords.matches, firstlogin.slip(password), stored):
            return firstlogin.SAME
        if await self._in_thread(self.store.choose, name, stored, value):
            self.log.info("%s chose a password in place of the one-time password, from address=%s", name, handler.request.remote_ip)
            if (user := orm.User.find(handler.db, name)) is not None:
                guard.end_sessions(handler.db, user)  # the name may have been somebody else's
            return name
        return None

    @staticmethod
    def _refuse(handler, words):
        handler.login_problem = words

    async def _may_enter(self, name: str) -> bool:
        """What JupyterHub asks after authenticate, asked before anything is stored."""
        if not await maybe_future(self.check_blocked_users(name, {"name": name})):
            return False
        return self.allow_all or bool(await maybe_future(self.check_allowed(name, {"name": name})))

    def _admins(self) -> set[str]:
        return {self.normalize_username(admin) for admin in self.admin_users}

    async def _claimable(self, handler, name: str) -> bool:
        """Whether whoever comes first may choose this name's password."""
        user = handler.find_user(name)
        admin = name in self._admins() or (user is not None and user.admin)
        if not admin and (await self._in_thread(self.store.let_go, name) or not await asyncio.to_thread(accounts.exists, name)):
            return True
        self.log.warning("%s has no password, and must not choose one at log-in. Set it with: sudo tljh-install password %s", name, name)
        return False

    def unclaimed(self, app) -> dict[str, list[str]]:
        """Users without a password, for the admin page: those who choose one at the first log-in, those who need one from root, and
        those who have not used the one-time password that they got."""
        rows = app.db.query(orm.User.name, orm.User.admin).all()
        known = self.store.known()
        settled = {name for name, has in known.items() if has} | self._admins() | {name for name, admin in rows if admin} | self.blocked_users | {PROBE_USER}
        # Who was given a one-time password has not chosen one yet.
        found = {"free": [], "closed": [], "given": self.store.unused()}
        for name in sorted(({name for name, _ in rows} | self._configured) - settled):
            free = self.first_login != firstlogin.PASSWORD and (name in known or not accounts.exists(name))
            found["free" if free else "closed"].append(name)
        return found

    async def change_password(self, name: str, password: str) -> str | None:
        """Store a new password; returns what is wrong with it."""
        if problem := passwords.problem(password, self.min_password_length):
            return problem
        self.store.set(name, await self._in_thread(passwords.digest, password))
        self.log.info("%s changed the password", name)
        return None

    async def _in_thread(self, function, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self._hashing, function, *arguments)
