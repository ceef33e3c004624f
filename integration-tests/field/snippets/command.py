# Another program of the user environment, without its path.
c.Spawner.cmd = ["jupyter-labhub"]
