"""The hub's side of The Littlest JupyterHub."""
