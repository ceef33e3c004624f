#!/bin/sh
# Made by tljh-install. The conda (and mamba) of this hub's terminals: without any activation, it means the environment that all users share.
set -u

base=/opt/tljh/conda/bin/conda
shared=/opt/tljh/user

say() {
	printf '%s\n' "$@" >&2
}

if [ ! -x "$base" ]; then
	say "This hub's environment was made without conda. Packages are installed with pip: pip install NAME"
	exit 1
fi

# Another environment that somebody activated, or made as their own, stays the one that is meant.
: "${CONDA_PREFIX:=$shared}"
export CONDA_PREFIX

changes=no
other=no
for word in "$@"; do
	case $word in
	install | update | upgrade | remove | uninstall) changes=yes ;;
	-n | --name | -n?* | --name=* | -p | --prefix | -p?* | --prefix=* | -h | --help | -d | --dry-run) other=yes ;;
	esac
done

if [ "$changes$other$CONDA_PREFIX" = "yesno$shared" ]; then
	if [ ! -w "$shared/conda-meta/history" ]; then
		say "Packages for everybody are installed by admins of this hub: ask one of them." \
			"For yourself, make an environment in your home:" \
			"  conda create --prefix ~/my-env python ipykernel NAME" \
			"  ~/my-env/bin/python -m ipykernel install --user --name my-env" \
			"or use pip, which installs into your home: pip install NAME"
		exit 1
	fi
	# What is installed is for all; the other admins change it, too.
	umask 0002
	# In a notebook nobody can answer.
	[ -t 0 ] || export CONDA_ALWAYS_YES=true
fi

exec "$base" "$@"
