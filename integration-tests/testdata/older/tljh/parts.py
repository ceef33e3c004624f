"""The spawner, which makes accounts, and a proxy class for the stand-in for Traefik: routes go into a file that it reads."""

import grp
import json
import pwd
import subprocess
from pathlib import Path

from jupyterhub.proxy import Proxy
from systemdspawner import SystemdSpawner


class UserCreatingSpawner(SystemdSpawner):
    def start(self):
        name = f"jupyter-{self.user.name}"
        self.username_template = name
        try:
            pwd.getpwnam(name)
        except KeyError:
            subprocess.check_call(["useradd", "--create-home", name])
            subprocess.check_call(["chmod", "o-rwx", f"/home/{name}"])
        for group, belongs in (("jupyterhub-users", True), ("jupyterhub-admins", self.user.admin)):
            if belongs and name not in grp.getgrnam(group).gr_mem:
                subprocess.check_call(["gpasswd", "--add", name, group])
        return super().start()


class RulesProxy(Proxy):
    should_start = False
    rules = Path("rules/rules.json")

    def _read(self):
        try:
            return json.loads(self.rules.read_text())
        except FileNotFoundError:
            return {}

    def _write(self, routes):
        draft = self.rules.with_suffix(".new")
        draft.write_text(json.dumps(routes))
        draft.rename(self.rules)

    async def add_route(self, routespec, target, data):
        self._write({**self._read(), routespec: {"routespec": routespec, "target": target, "data": data}})

    async def delete_route(self, routespec):
        self._write({spec: route for spec, route in self._read().items() if spec != routespec})

    async def get_all_routes(self):
        return self._read()
