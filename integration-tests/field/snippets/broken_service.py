# A service that JupyterHub refuses when it starts: the hub did not come up.
c.JupyterHub.services = [{"name": "own", "nosuch": True}]
c.JupyterHub.load_roles = [{"name": "own", "services": ["own"], "scopes": ["no:such:scope"]}]
