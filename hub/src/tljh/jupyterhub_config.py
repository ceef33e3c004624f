"""What `python -m jupyterhub --config` is given: settings from config.yaml, then jupyterhub_config.d/*.py, which have the last word."""

from jupyterhub.app import JupyterHub

from tljh import bodies, snippets, through_edge
from tljh.configure import add_snippets, configure
from tljh.paths import Paths

here = Paths.here()
through_edge.require(through_edge.token_of(here))
bodies.limit()
if JupyterHub.initialized():
    snippets.watch_start(JupyterHub.instance(), here)
add_snippets(c, here, configure(c, here))  # noqa: F821  traitlets puts c here
