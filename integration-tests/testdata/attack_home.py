"""Plants into a student's home what could be run by the student's server. Each piece that is run leaves a file ~/ran/NAME."""

import json
import sys
from pathlib import Path

HOME = Path.home()
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
(HOME / "ran").mkdir(exist_ok=True)


def put(path, text):
    path = HOME / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def mark(name):
    """Python that says that it was run, and in which kind of process."""
    return (
        f"import sys\nif 'start.py' in ' '.join(sys.orig_argv) or 'jupyterhub' in ' '.join(sys.orig_argv): open({str(HOME / 'ran' / name)!r}, 'w').write('x')\n"
    )


def config(name):
    return mark(name) + f"c.ServerApp.extra_static_paths.append({str(HOME)!r})\n"


# Config of every application that takes part, in every folder that Jupyter looks into, and where the server is started.
for folder in (".jupyter", ".local/etc/jupyter", ".", ".local/share/jupyter"):
    for app in ("jupyter_server", "jupyter", "jupyter_lab", "jupyter_notebook", "jupyterhub_singleuser", "jupyterhub-singleuser", "jupyter_app"):
        put(f"{folder}/{app}_config.py", config(f"{folder.replace('/', '-')}-{app}"))
    enabling = json.dumps({"ServerApp": {"jpserver_extensions": {"planted": True}}, "NotebookApp": {"nbserver_extensions": {"planted": True}}})
    for name in ("jupyter_server_config.d/planted.json", "jupyter_notebook_config.d/planted.json", "jupyter_config.json"):
        put(f"{folder}/{name}", enabling)
    put(f"{folder}/labconfig/page_config.json", json.dumps({"fullStaticUrl": "https://planted.example/static", "planted": "planted-page-config"}))

# IPython 3's, which Jupyter copies into its own folder and then runs.
put(".ipython/profile_default/ipython_notebook_config.py", config("migrated"))
put(".ipython/profile_default/static/custom/custom.js", "planted")

# Modules that Python or an extension imports.
extension = mark("extension") + "def _load_jupyter_server_extension(app): pass\nload_jupyter_server_extension = _load_jupyter_server_extension\n"
for folder in (".", f".local/lib/{VERSION}/site-packages"):
    put(f"{folder}/planted.py", extension)
    for name in ("usercustomize", "sitecustomize"):
        put(f"{folder}/{name}.py", mark(f"{folder.replace('/', '-')}-{name}"))
put("tornado/__init__.py", mark("tornado") + "raise SystemExit(3)\n")
put(f".local/lib/{VERSION}/site-packages/planted.pth", "import planted\n")

# What browsers load.
labextension = {"name": "planted", "version": "1.0.0", "jupyterlab": {"_build": {"load": "static/planted.js", "extension": "./extension"}}}
put(".local/share/jupyter/labextensions/planted/package.json", json.dumps(labextension))
put(".local/share/jupyter/labextensions/planted/static/planted.js", "planted")
put(".local/share/jupyter/nbextensions/planted.js", "planted")
put(".jupyter/custom/custom.css", "planted")
put(".jupyter/custom/custom.js", "planted")
put("page.html", "<script>planted</script>")

# Templates of nbconvert are programs.
run = "{{ cycler.__init__.__globals__.os.system('touch %s') }}planted"
for folder in (".", ".local/share/jupyter/nbconvert/templates", "nbconvert/templates", "templates", "share/jupyter/nbconvert/templates"):
    for template in ("lab", "classic", "base"):
        put(f"{folder}/{template}/conf.json", json.dumps({"mimetypes": {"text/html": True}}))
        put(f"{folder}/{template}/index.html.j2", run % (HOME / "ran" / f"template-{folder.replace('/', '-')}-{template}"))
for folder in (".", "templates"):
    put(f"{folder}/index.html.j2", run % (HOME / "ran" / f"template-{folder}"))
put("some.ipynb", json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))

# What must work all the same: a kernel of one's own (a page among its files), IPython's own start, and settings of JupyterLab.
kernel = {
    "argv": [f"{sys.prefix}/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "display_name": "Own",
    "language": "python",
    "env": {"OWN": "kernel"},
}
put(".local/share/jupyter/kernels/own/kernel.json", json.dumps(kernel))
put(".local/share/jupyter/kernels/own/page.html", "<script>planted</script>")
put(".ipython/profile_default/startup/00-own.py", "own_start = 1\n")
put(f".local/lib/{VERSION}/site-packages/own_package.py", "x = 1\n")
put(".jupyter/lab/user-settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings", '{"theme": "JupyterLab Dark"}')
