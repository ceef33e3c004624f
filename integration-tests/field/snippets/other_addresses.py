# From a guide for a hub that is installed by hand.
c.JupyterHub.port = 8000
c.JupyterHub.ssl_cert = "/etc/ssl/hub.pem"
c.JupyterHub.db_url = "postgresql://hub@localhost/hub"
c.JupyterHub.spawner_class = "jupyterhub.spawner.SimpleLocalProcessSpawner"
c.ConfigurableHTTPProxy.should_start = True
c.Spawner.http_timeout = 99
