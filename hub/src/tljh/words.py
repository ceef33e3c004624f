"""What the hub answers where JupyterHub itself answers with a number, "None" or nothing: what happened, and what to do."""

from http.client import responses

from jupyterhub import spawner
from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.apihandlers.users import UserAPIHandler, UserListAPIHandler
from jupyterhub.handlers import BaseHandler
from jupyterhub.scopes import needs_scope
from sqlalchemy.exc import DBAPIError
from tornado import web

from tljh import passwords

# Failures that have words of the spawner's own. JupyterHub 5 has no class for them.
SPAWN_FAILURES = tuple(filter(None, [getattr(spawner, "SpawnException", None)]))

# By the status of an answer that has no words of its own.
WORDS = {
    400: "The hub does not understand this request. Reload the page and try again.",
    401: "Please log in first.",
    403: "You may not do this. Log in again, or ask an admin of this hub.",
    404: "There is nothing at this address: the user, server or page does not exist. Check the address, or go to the hub's home page.",
    405: "This address does not take such a request.",
    409: "This is being changed already, or exists. Reload the page to see how it is now.",
    413: "The request is too large.",
    429: "The hub is busy. Please try again in a minute.",
    500: "Something went wrong in the hub. Try again. If it happens again, tell an admin: the reason is in journalctl -u jupyterhub.",
    503: "The hub cannot do this at the moment. Please try again in a minute.",
}
OTHERWISE = "The hub could not answer this request. Reload the page and try again."

# By what SQLite says of the hub's database.
DATABASE = {
    "locked": "Another program, such as a backup, is using the hub's database. Try again in a minute. If it stays so, tell an admin of this hub.",
    "full": "The disk of the hub is full. Tell an admin of this hub: df -h shows which.",
    "readonly": "The hub cannot write its database. Tell an admin of this hub: sudo tljh-install status.",
    "disk I/O error": "The disk of the hub does not work as it should. Tell an admin of this hub: journalctl -k shows its errors.",
    "malformed": "The hub's database is damaged. Tell an admin of this hub: sudo tljh-install status.",
}

# What to do, by how words of JupyterHub's begin.
MORE = {
    "Invalid server_name": "Use 1 to 30 small letters (a to z), digits and single hyphens, begin with a letter and end with a letter or digit.",
    "Named servers are not enabled": "An admin of this hub can allow them: c.JupyterHub.allow_named_servers = True in a file of jupyterhub_config.d.",
}

# How many names an answer lists.
MOST = 10


def explain(status: int, error: BaseException | None) -> None:
    """Give an error words if it has none."""
    if error is None or isinstance(error, SPAWN_FAILURES) or getattr(error, "jupyterhub_message", None):
        return
    if isinstance(error, DBAPIError) and (found := next((told for said, told in DATABASE.items() if said in str(error.orig)), None)):
        error.jupyterhub_message = found
        return
    if isinstance(error, web.HTTPError):
        if error.log_message:
            _say_more(error)
            return
        error.reason = error.reason or responses.get(status)
    error.jupyterhub_message = WORDS.get(status, OTHERWISE)


def _say_more(error: web.HTTPError) -> None:
    said = error.log_message % error.args if error.args else error.log_message
    if more := next((told for begin, told in MORE.items() if said.startswith(begin)), None):
        error.jupyterhub_message = f"{said.rstrip('.')}. {more}"


def name_problem(authenticator, name) -> str | None:
    """Why a name cannot be a user's; None if it can."""
    if not isinstance(name, str):
        return "It is not a text."
    name = authenticator.normalize_username(name)
    if authenticator.validate_username(name):
        return None
    return passwords.name_problem(name) or "This hub does not allow such names."


def refusal(authenticator, names) -> str | None:
    """Why users with these names are not added; None if they can be. A list is added as a whole or not at all."""
    if not isinstance(names, list):
        return 'Nobody was added: "usernames" must be a list of names.'
    wrong = [(name, problem) for name in names if (problem := name_problem(authenticator, name)) is not None]
    if not wrong:
        return None
    shown = "; ".join(f"{str(name)[:60]!r}: {problem.rstrip('.')}" for name, problem in wrong[:MOST])
    more = f"; and {len(wrong) - MOST} more" if len(wrong) > MOST else ""
    which = "1 name" if len(wrong) == 1 else f"{len(wrong)} names"
    return f"Nobody was added, because {which} of {len(names)} cannot be used. {shown}{more}. Correct the list, then add all of it again."


def install() -> None:
    """Put words into JupyterHub's handlers, once."""
    if getattr(BaseHandler, "tljh_words", False):
        return
    BaseHandler.tljh_words = True
    for handler in (BaseHandler, APIHandler):
        handler.write_error = _explaining(handler.write_error)
    UserListAPIHandler.post = _naming(UserListAPIHandler.post)
    UserAPIHandler.post = _naming_one(UserAPIHandler.post)
    UserAPIHandler.get_json_body = _keeping_the_name(UserAPIHandler.get_json_body)


def _explaining(plain):
    def write_error(handler, status_code, **kwargs):
        explain(status_code, kwargs.get("exc_info", (None, None, None))[1])
        return plain(handler, status_code, **kwargs)

    return write_error


def _naming(plain):
    @needs_scope("admin:users")
    async def post(handler):
        data = handler.get_json_body()
        if isinstance(data, dict) and data.get("usernames") and (words := refusal(handler.authenticator, data["usernames"])):
            raise web.HTTPError(400, "%s", words)
        return await plain(handler)

    return post


def _naming_one(plain):
    @needs_scope("admin:users")
    async def post(handler, user_name):
        if problem := name_problem(handler.authenticator, user_name):
            raise web.HTTPError(400, "%s", f"{user_name[:60]!r} was not added. {problem}")
        return await plain(handler, user_name)

    return post


def _keeping_the_name(plain):
    """The Admin page sends the name along when only the role changes. JupyterHub 6.1 takes a name that stays the same for none, and loses the user."""

    def get_json_body(handler):
        data = plain(handler)
        if handler.request.method == "PATCH" and isinstance(data, dict) and data.get("name") == handler.path_args[0]:
            del data["name"]
        return data

    return get_json_body
