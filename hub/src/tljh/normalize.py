"""`from tljh.normalize import generate_system_username`: the name that the older TLJH has for finding a user's Linux account."""

from tljh.names import PREFIX, system_name


def generate_system_username(username: str) -> str:
    """The Linux account for a name that begins with `jupyter-`, as the hub spells it."""
    return system_name(username.removeprefix(PREFIX), PREFIX)
