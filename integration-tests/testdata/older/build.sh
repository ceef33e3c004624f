#!/bin/sh
# Builds what the older TLJH leaves on a machine. Arguments: the address of the conda mirror, and that of its Miniforge below it.
set -eu
here=$(dirname "$0")
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --no-install-recommends python3 python3-venv python3-gdbm >/dev/null

mkdir -p /opt/tljh
python3 -m venv /opt/tljh/hub
/opt/tljh/hub/bin/pip install --quiet --disable-pip-version-check jupyterhub==5.4.6 jupyterhub-systemdspawner==1.0.2 jupyterhub-firstuseauthenticator==1.1.1 PyYAML
cp -r "$here/tljh" /opt/tljh/hub/lib/python3.11/site-packages/
install -m 0755 "$here/traefik.py" /opt/tljh/hub/bin/traefik
printf '#!/opt/tljh/hub/bin/python3\nprint("the older tljh-config")\n' >/opt/tljh/hub/bin/tljh-config
chmod 0755 /opt/tljh/hub/bin/tljh-config
ln -s /opt/tljh/hub/bin/tljh-config /usr/bin/tljh-config

mkdir -p /etc/conda
printf 'channels:\n  - conda-forge\nchannel_alias: %s\n' "$1" >/etc/conda/.condarc
curl -fsSL -o /tmp/miniforge.sh "$1/$2"
bash /tmp/miniforge.sh -u -b -p /opt/tljh/user
/opt/tljh/user/bin/conda install --yes --quiet pip jupyterlab notebook ipykernel ipywidgets cowsay=6.0
/opt/tljh/user/bin/python -m pip install --quiet --disable-pip-version-check jupyterhub==5.4.6 toolz
echo 'cowsay ==6.0' >>/opt/tljh/user/conda-meta/pinned
mkdir -p /opt/tljh/user/pkgs
rm -rf /etc/conda /tmp/miniforge.sh

install -d -m 0700 /opt/tljh/config /opt/tljh/config/jupyterhub_config.d /opt/tljh/config/traefik_config.d /opt/tljh/state /opt/tljh/state/rules
cp "$here/config.yaml" /opt/tljh/config/config.yaml
chmod 0644 /opt/tljh/config/config.yaml
echo "c.Spawner.environment = {'COURSE': 'physics'}" >/opt/tljh/config/jupyterhub_config.d/course.py
echo '[log]' >/opt/tljh/config/traefik_config.d/log.toml
echo 'logLevel = "INFO"' >/opt/tljh/state/traefik.toml
: >/opt/tljh/state/rules/rules.toml
: >/opt/tljh/state/acme.json
chmod 0600 /opt/tljh/state/acme.json
echo 0123456789abcdef >/opt/tljh/state/traefik-api.secret
echo 'installed' >/opt/tljh/installer.log

groupadd --force jupyterhub-admins
groupadd --force jupyterhub-users
printf '%%jupyterhub-admins ALL = (ALL) NOPASSWD: ALL\nDefaults exempt_group = jupyterhub-admins\n' >/etc/sudoers.d/jupyterhub-admins
cp "$here/jupyterhub.service" "$here/traefik.service" /etc/systemd/system/
systemctl daemon-reload
systemctl enable --quiet --now traefik jupyterhub
