"""What `python -m jupyterhub --config` is given: settings from config.yaml, then jupyterhub_config.d/*.py, which have the last word."""

from tljh.configure import configure, local_files
from tljh.paths import Paths

configure(c, Paths.here())  # noqa: F821  traitlets puts c and load_subconfig here

for path in local_files(Paths.here()):
    load_subconfig(str(path))  # noqa: F821
