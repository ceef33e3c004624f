"""Config of a single-user server that runs trusted code only. It comes last: what admins set in the user environment or in /etc/jupyter wins."""

import os

import tljh_start
from jupyter_server.kernelspecs.handlers import KernelSpecResourceHandler
from jupyter_server.services.config import ConfigManager
from traitlets import default

c = get_config()  # noqa: F821

# It would install into the home what the server does not load.
c.LabApp.extension_manager = "readonly"

# nbconvert's templates are programs. Its default is the working directory, which is the home.
c.TemplateExporter.extra_template_basedirs = []


class PageConfig(ConfigManager):
    """What pages keep by /api/config: data, which stays in the home."""

    @default("write_config_dir")
    def _default_write_config_dir(self):
        return os.path.join(tljh_start.usual["jupyter_config_dir"](), self.config_dir_name)

    @default("read_config_path")
    def _default_read_config_path(self):
        trusted = [os.path.join(folder, self.config_dir_name) for folder in tljh_start.jupyter_config_path()]
        return [self.write_config_dir, *trusted]


c.ServerApp.config_manager_class = PageConfig

# A kernel's folder in the home holds what its owner likes, pages with scripts among it: none of them may act on this origin.
_policy = KernelSpecResourceHandler.content_security_policy
KernelSpecResourceHandler.content_security_policy = property(lambda self: _policy.fget(self) + "; sandbox allow-scripts")

# Otherwise it is a file that the user's other processes can read.
c.ServerApp.cookie_secret = os.urandom(32)
