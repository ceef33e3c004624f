#!/bin/sh
# Miniforge3 26.3.2-3, as the mirror of the integration tests has it: the command line and the ways to fail of Miniforge's own
# installer, around a stand-in for conda. An archive follows after the last line.
set -eu

LINES_BEFORE=@LINES@
NAME=Miniforge3
VERSION=26.3.2-3
PREFIX=${HOME:-/opt}/miniforge3
BATCH=0
FORCE=0
UPDATE=0
THIS=$0

usage() {
	cat <<-EOF

		usage: $0 [options]

		Installs $NAME $VERSION

		-b           run install in batch mode (without manual intervention),
		             it is expected the license terms (if any) are agreed upon
		-f           no error if install prefix already exists
		-h           print this help message and exit
		-p PREFIX    install prefix, defaults to $PREFIX, must not contain spaces.
		-s           skip running pre/post-link/install scripts
		-u           update an existing installation
		-t           run package tests after installation (may install conda-build)
	EOF
}

die() {
	printf '%s\n' "$@" >&2
	exit 1
}

options() {
	while getopts "bifhkp:smut" option; do
		case $option in
		b) BATCH=1 ;;
		f) FORCE=1 ;;
		u) UPDATE=1 FORCE=1 ;;
		p) PREFIX=$OPTARG ;;
		h)
			usage
			exit 2
			;;
		i) BATCH=0 ;;
		k | s | m | t) ;;
		*) die "ERROR: did not recognize option, please try -h" ;;
		esac
	done
}

ask() {
	printf 'Do you accept the license terms? [yes|no]\n>>> '
	read -r answer || answer=no
	[ "$answer" = yes ] || die "The license agreement wasn't approved, aborting installation."
}

prepare() {
	case $PREFIX in
	*' '*) die "ERROR: Cannot install into directories with spaces" ;;
	esac
	if [ "$FORCE" = 0 ] && [ -e "$PREFIX" ]; then
		die "ERROR: File or directory already exists: '$PREFIX'" "If you want to update an existing installation, use the -u option."
	fi
	if [ "$UPDATE" = 1 ] && [ -e "$PREFIX" ] && [ ! -w "$PREFIX" ]; then
		die "ERROR: cannot write to '$PREFIX'"
	fi
	mkdir -p "$PREFIX" || die "ERROR: Could not create directory: '$PREFIX'"
	PREFIX=$(cd "$PREFIX" && pwd)
}

unpack() {
	echo "Unpacking payload ..."
	tail -n "+$((LINES_BEFORE + 1))" "$THIS" | tar -xzf - -C "$PREFIX" --no-same-owner || die "ERROR: could not extract the tar archive"
}

install() {
	echo "Installing base environment..."
	set -- "$PREFIX"/pkgs/python-3*/bin/python3
	"$1" -I "$PREFIX/bootstrap.py" "$PREFIX" || die "ERROR: could not install the base environment"
	rm -f "$PREFIX/bootstrap.py"
	{
		echo "channels:"
		echo "  - conda-forge"
		# So that the name of the channel leads to a mirror; Miniforge's own writes the channel only.
		[ -z "${MIRROR_CHANNEL_ALIAS:-}" ] || echo "channel_alias: $MIRROR_CHANNEL_ALIAS"
	} >"$PREFIX/.condarc"
}

main() {
	options "$@"
	[ "$BATCH" = 1 ] || ask
	prepare
	echo "PREFIX=$PREFIX"
	unpack
	install
	echo "installation finished."
	exit 0
}

main "$@"
