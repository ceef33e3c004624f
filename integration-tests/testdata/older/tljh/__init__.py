"""Stands for the hub side of the older TLJH: what it tells JupyterHub is the same, the words are not."""
