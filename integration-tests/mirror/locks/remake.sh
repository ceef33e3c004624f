#!/bin/sh
# Pins what the mirror is made with (tools.in) and what its channel has beside the user environment's packages (extra.in) by hash.
# Where packages come from is a matter of your own settings of uv; nothing of it is written down. UV names the command to use.
set -eu

main() {
	cd "$(dirname "$0")"
	if [ -z "${UV:-}" ]; then
		UV=$(cd ../../.. && go run ./internal/dist/devenv node)/bin/uv
	fi
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	for name in tools extra; do
		echo "# Made from $name.in by remake.sh: wheels for Linux on amd64, CPython 3.14." >"$work/$name.txt"
		# One by one: the channel has several versions of some, which no single environment could hold.
		grep -v '^#' "$name.in" | while read -r package; do
			echo "$package" >"$work/one.in"
			"$UV" pip compile --quiet --no-deps --no-header --no-annotate --generate-hashes --only-binary :all: --python-version 3.14 \
				--python-platform x86_64-manylinux_2_34 --constraints "$(constraints "$name")" --output-file "$work/one.txt" "$work/one.in"
			cat "$work/one.txt" >>"$work/$name.txt"
			rm "$work/one.txt"
		done
	done
	for name in tools extra; do
		cp "$work/$name.txt" "$name.txt"
	done
	echo "remade: tools.txt extra.txt" >&2
}

# What makes the mirror has the versions of the user environment where that has them; what the channel has more of has others.
constraints() {
	if [ "$1" = tools ]; then
		echo ../../../hub/locks/user.txt
	else
		: >"$work/nothing"
		echo "$work/nothing"
	fi
}

main "$@"
