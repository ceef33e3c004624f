"""`from tljh.conda import fix_permissions`, which plugins of the older TLJH call after a change of the user environment."""


def fix_permissions(prefix: str) -> None:
    """What the user environment holds is opened to its admins by the installation itself."""
