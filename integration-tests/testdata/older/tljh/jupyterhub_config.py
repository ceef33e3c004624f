"""The hub of the older TLJH, as far as its settings matter for taking it over."""

import os
from glob import glob

import yaml

from tljh.parts import RulesProxy, UserCreatingSpawner

c = get_config()  # noqa: F821
root = os.environ["TLJH_INSTALL_PREFIX"]

with open(f"{root}/config/config.yaml", encoding="utf-8") as file:
    config = yaml.safe_load(file)
users = config.get("users", {})

c.JupyterHub.spawner_class = UserCreatingSpawner
c.JupyterHub.cleanup_servers = False
c.JupyterHub.hub_port = 15001
c.JupyterHub.proxy_class = RulesProxy
c.JupyterHub.authenticator_class = "firstuseauthenticator.FirstUseAuthenticator"
c.FirstUseAuthenticator.create_users = False
c.Authenticator.admin_users = set(users.get("admin", []))
c.Authenticator.allow_all = True
c.SystemdSpawner.extra_paths = [f"{root}/user/bin"]
c.SystemdSpawner.default_shell = "/bin/bash"
c.SystemdSpawner.unit_name_template = "jupyter-{USERNAME}"
c.Spawner.mem_limit = config.get("limits", {}).get("memory")
c.Spawner.default_url = "/lab"

for extra in sorted(glob(f"{root}/config/jupyterhub_config.d/*.py")):
    load_subconfig(extra)  # noqa: F821
