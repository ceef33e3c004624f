"""The hooks of the older TLJH, which its plugins implement: `from tljh.hooks import hookimpl`.

A plugin is a package with an entry point of the group `tljh`, named in hub.packages. When each hook is called, and as whom, says docs/plugins.md.
"""

import pluggy

hookspec = pluggy.HookspecMarker("tljh")
hookimpl = pluggy.HookimplMarker("tljh")


@hookspec
def tljh_extra_user_conda_packages():
    """Names of conda packages for the user environment."""


@hookspec
def tljh_extra_user_conda_channels():
    """Channels for these."""


@hookspec
def tljh_extra_user_pip_packages():
    """Requirements, as pip takes them, for the user environment."""


@hookspec
def tljh_extra_hub_pip_packages():
    """Requirements, as pip takes them, for the hub environment."""


@hookspec
def tljh_extra_apt_packages():
    """Names of Debian packages."""


@hookspec
def tljh_custom_jupyterhub_config(c):
    """Add to the hub's configuration. `c` is what a file of jupyterhub_config.d has."""


@hookspec
def tljh_config_post_install(config):
    """Change the settings of config.yaml, a mapping, in place."""


@hookspec
def tljh_post_install():
    """Do what else is to be done after an installation, as root."""


@hookspec
def tljh_new_user_create(username):
    """A Linux account was made for a user of the hub. `username` is the account's name."""
