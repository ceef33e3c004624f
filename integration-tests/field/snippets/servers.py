# A page to begin with, tools of the site's own on the PATH, and less isolation, on the base classes as everybody writes it.
c.Spawner.default_url = "/tree"
c.SystemdSpawner.extra_paths = ["/opt/own/bin"]
c.SystemdSpawner.isolate_tmp = False
c.SystemdSpawner.isolate_devices = False
c.Spawner.environment = {"COURSE": "physics"}
