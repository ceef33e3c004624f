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
creates=no
python=
name=
take=
for word in "$@"; do
	[ -z "$take" ] || name="$take $word"
	take=
	case $word in -n | --name | -p | --prefix) take=$word ;; esac
	case $word in
	create) creates=yes ;;
	python=*) python=${word#python} ;;
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
	# With another Python, all that pip installed would be gone, JupyterHub included, and no server would start.
	for folder in "$shared"/lib/python3*/site-packages; do
		now=${folder#"$shared"/lib/python}
		now=${now%/site-packages}
	done
	python=${python#=}
	python=${python#=}
	case $python in
	'' | 3 | 3.\* | "$now" | "$now".*) ;;
	*)
		say "The environment for all users has Python $now and keeps it: with Python $python, JupyterHub and all that pip installed would be missing." \
			"Make an environment of your own:" \
			"  conda create -n my-env python=$python ipykernel" \
			"or let root build a new one for all users, with python=$python in its environment.yml: sudo tljh-install env apply FOLDER"
		exit 1
		;;
	esac
	# What is installed is for all; the other admins change it, too.
	umask 0002
	# In a notebook nobody can answer.
	[ -t 0 ] || export CONDA_ALWAYS_YES=true
fi

if [ "$creates$other" = yesyes ]; then
	"$base" "$@" || exit
	# Whoever makes an environment wants it in notebooks, too.
	case " $* " in *" --help "* | *" -h "* | *" --dry-run "* | *" -d "*) exit 0 ;; esac
	[ -n "$name" ] || exit 0
	say "" "To have it as a kernel in your notebooks:" \
		"  conda install $name ipykernel" \
		"  conda run $name python -m ipykernel install --user --name NAME" \
		"For all users, an admin of the server makes it with sudo, and writes --prefix /usr/local in the place of --user."
	exit 0
fi

exec "$base" "$@"
