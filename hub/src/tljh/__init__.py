"""The hub's side of The Littlest JupyterHub: what runs inside JupyterHub itself.

It reads config.yaml, makes accounts, starts each user's server as a unit of systemd and keeps passwords. Installing, the edge
and everything else that is not JupyterHub's business does not belong here.
"""

import sys

from tljh import otp

# NativeAuthenticator imports a module that only exists as a source; ours has the part it uses.
sys.modules.setdefault("onetimepass", otp)
