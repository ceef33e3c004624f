"""What `jupyterhub --config` is given. Changes of your own belong into config/config.yaml or config/jupyterhub_config.d/."""

from tljh.configure import main

main(c, load_subconfig)  # noqa: F821  (both are put here by traitlets)
