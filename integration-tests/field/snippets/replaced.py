# Lists and mappings that are assigned, and so replaced what the hub itself needs in them.
from jupyterhub.handlers import BaseHandler


class Own(BaseHandler):
    def get(self):
        self.finish("own page")


c.JupyterHub.services = [{"name": "own", "api_token": "own-service-token"}]
c.JupyterHub.load_roles = [{"name": "own", "services": ["own"], "scopes": ["list:users"]}]
c.JupyterHub.template_paths = ["/opt/own/templates"]
c.JupyterHub.template_vars = {"announcement": "Exam at nine"}
c.JupyterHub.extra_handlers = [("/own", Own)]
c.JupyterHub.tornado_settings = {"headers": {"X-Own": "1"}}
