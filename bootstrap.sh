#!/bin/sh
# Fetches the installer of The Littlest JupyterHub, checks it, keeps it and starts it:
#
#     curl -fsSL URL/bootstrap.sh | sudo bash -s -- --admin alice
#
# Every argument goes to `tljh-install install`, whose exit code is given back. All of this file is functions, and the
# last line is only complete with its last character: a download that was cut runs nothing. It is plain POSIX sh.

# Stamped in by `make dist` and `make release`; in the source tree they stand for themselves.
STAMPED_URL='@RELEASE_URL@'
STAMPED_VERSION='@VERSION@'

ROOT=/opt/tljh
BIN_DIR=$ROOT/bin
BINARY=$BIN_DIR/tljh-install

# The exit codes are those of tljh-install.
EXIT_FAILED=1
EXIT_USAGE=2
EXIT_REFUSED=4
EXIT_INTERRUPTED=130

TRIES=4
UNSIGNED=
MAY_BE_MISSING=

usage() {
	cat <<'USAGE'
Usage: bootstrap.sh [OPTION]...

Download the installer of The Littlest JupyterHub, verify it, install it as
/opt/tljh/bin/tljh-install and run `tljh-install install OPTION...`.
Run it as root on the machine that will be the hub, for example:

    curl -fsSL URL/bootstrap.sh | sudo bash -s -- --admin alice

Options are passed to the installer; once it is installed,
`tljh-install install --help` lists them. Do not write a password after
--admin: sudo logs its command line in the journal. Without a password, one
is generated and shown once; --admin-password-file FILE reads one from a file.

If an installer is already there, it verifies the signature of the downloaded
one before it is replaced. This script has one option of its own:
  --unsigned           accept an unsigned build, such as your own

Environment (sudo drops it: write `sudo NAME=value bash ...`):
  TLJH_RELEASE_URL     address of the folder with the release, instead of the
                       one built into this script
  http_proxy, https_proxy, no_proxy (or in capitals)
                       a proxy between this machine and the network
  CURL_CA_BUNDLE, SSL_CERT_FILE
                       certificates to trust, if the network has its own
  TLJH_DOWNLOAD_STALL  seconds without data before a download is retried (30)

Exit codes: those of tljh-install; this script uses 1 (the download failed),
2 (usage error), 3 (the release is not signed by the right key), 4 (this
machine cannot be used, or another release is installed), 130 (interrupted).
USAGE
}

say() {
	printf '%s\n' "$*" >&2
}

# fail CODE LINE... says why and what to do, and ends the script.
fail() {
	fail_code=$1
	shift
	say ""
	say "The Littlest JupyterHub was not installed: $1"
	shift
	for fail_line in "$@"; do
		say "  $fail_line"
	done
	exit "$fail_code"
}

# --- leaving nothing behind ---------------------------------------------------------------------------------------

WORK=
PART=
PACKED=
FETCHER=
WATCHER=
PAUSE=
MADE_ROOT=
MADE_BIN=

stop_children() {
	for child in $FETCHER $WATCHER $PAUSE; do
		kill "$child" 2>/dev/null
	done
	FETCHER='' WATCHER='' PAUSE=''
}

# A child that is ended in the instant of its birth still has the traps of the script: it must not clean up for it.
is_script() {
	# shellcheck disable=SC2016 # the new shell is to say whose child it is
	[ "$(exec sh -c 'echo $PPID')" = $$ ]
}

clean_up() {
	is_script || return 0
	stop_children
	[ -z "$PART" ] || rm -f "$PART" "$PACKED"
	[ -z "$WORK" ] || rm -rf "$WORK"
	# Only what this run made, and only if nothing was put there.
	[ -z "$MADE_BIN" ] || rmdir "$BIN_DIR" 2>/dev/null
	[ -z "$MADE_ROOT" ] || rmdir "$ROOT" 2>/dev/null
	PART='' PACKED='' WORK='' MADE_BIN='' MADE_ROOT=''
}

interrupted() {
	if ! is_script; then
		trap - EXIT
		exit $EXIT_INTERRUPTED
	fi
	trap '' INT TERM HUP
	say ""
	say "Interrupted. Nothing was installed; run the same command to start again."
	exit $EXIT_INTERRUPTED
}

# --- the machine --------------------------------------------------------------------------------------------------

have() {
	command -v "$1" >/dev/null 2>&1
}

check_root() {
	[ "$(id -u)" = 0 ] || fail $EXIT_REFUSED "it must run as root." \
		"Put sudo in front of bash (curl -fsSL ... | sudo bash -s -- ...), or become root first with: su -"
}

check_linux() {
	[ "$(uname -s)" = Linux ] || fail $EXIT_REFUSED "it needs Linux, and this is $(uname -s)." \
		"Run it on the server that will be the hub, for example over ssh."
}

find_architecture() {
	case $(uname -m) in
	x86_64 | amd64) ARCH=amd64 ;;
	aarch64 | arm64) ARCH=arm64 ;;
	*) fail $EXIT_REFUSED "there is no release for this processor ($(uname -m))." \
		"It runs on x86_64 (amd64) and aarch64 (arm64)." ;;
	esac
}

check_systemd() {
	[ -d /run/systemd/system ] || fail $EXIT_REFUSED "systemd is not running on this machine." \
		"The hub and its servers are run by systemd, which containers usually lack: use a server or a" \
		"virtual machine. Under WSL, enable systemd in /etc/wsl.conf and restart WSL."
}

check_tools() {
	have sha256sum || fail $EXIT_REFUSED "the command sha256sum is missing." \
		"It verifies the download. Install the package coreutils (or busybox)."
	if have curl; then
		DOWNLOADER=curl
	elif have wget; then
		DOWNLOADER=wget
		wget --version 2>/dev/null | grep -q 'GNU Wget' || DOWNLOADER=wget-small
	else
		fail $EXIT_REFUSED "neither curl nor wget is installed." \
			"Install one of them with the package manager, for example: apt-get install curl"
	fi
}

# check_foreign refuses an /opt/tljh that another program made. One of ours holds the installer or its state; one of
# ours that was killed during the download holds a half of it. An older TLJH is the installer's to judge.
check_foreign() {
	[ -e "$ROOT" ] || [ -L "$ROOT" ] || return 0
	[ ! -L "$ROOT" ] || fail $EXIT_REFUSED "$ROOT is a symbolic link; it must be a folder." \
		"To have it on another disk, mount a folder of that disk there: mount --bind (and a line in /etc/fstab)."
	[ -d "$ROOT" ] || fail $EXIT_REFUSED "$ROOT exists and is not a folder." "Move it away first."
	if [ -d "$ROOT/hub" ] && [ ! -L "$ROOT/hub" ]; then
		say "The Littlest JupyterHub 1.x/2.x (Python) is installed. The installer can adopt it; it shows the plan and asks first."
	fi
	owner=$(stat -c %u "$ROOT/.")
	[ "$owner" = 0 ] || fail $EXIT_REFUSED "$ROOT belongs to another account (number $owner), not to root." \
		"Check what it is for. To use it for the hub: chown root:root $ROOT"
	if [ -e "$BINARY" ] || [ -d "$ROOT/state" ] || only_leftovers; then
		return 0
	fi
	fail $EXIT_REFUSED "$ROOT already exists, and another program made it." \
		"Nothing was changed. Check what it is: ls -la $ROOT" \
		"This script needs $ROOT for itself. Move the folder away, then paste the line again."
}

only_leftovers() {
	for entry in "$ROOT"/* "$ROOT"/.[!.]* "$BIN_DIR"/* "$BIN_DIR"/.[!.]*; do
		[ -e "$entry" ] || [ -L "$entry" ] || continue # the pattern itself: nothing fitted
		case $entry in
		"$BIN_DIR" | "$ROOT/lost+found" | "$BIN_DIR"/.tljh-install.*) ;;
		*) return 1 ;;
		esac
	done
}

# --- where from ---------------------------------------------------------------------------------------------------

# find_release prefers the environment, so that a mirror or a test can stand in for the address written here.
find_release() {
	URL=${TLJH_RELEASE_URL:-}
	if [ -z "$URL" ]; then
		case $STAMPED_URL in
		@* | '') ;;
		*) URL=$STAMPED_URL ;;
		esac
	fi
	[ -n "$URL" ] || fail $EXIT_USAGE "this copy of bootstrap.sh has no release address." \
		"Give the address of the folder with SHA256SUMS: sudo TLJH_RELEASE_URL=https://... bash bootstrap.sh ..."
	case $URL in
	https://?* | http://?*) ;;
	*) fail $EXIT_USAGE "TLJH_RELEASE_URL is not a web address: $URL" "It must begin with https:// or http://." ;;
	esac
	while [ "${URL%/}" != "$URL" ]; do
		URL=${URL%/}
	done
	TLJH_RELEASE_URL=$URL
	export TLJH_RELEASE_URL
}

# curl and wget read some of these in small letters only; the installer reads both.
use_proxy_settings() {
	[ -n "${http_proxy:-}" ] || [ -z "${HTTP_PROXY:-}" ] || http_proxy=$HTTP_PROXY
	[ -n "${https_proxy:-}" ] || [ -z "${HTTPS_PROXY:-}" ] || https_proxy=$HTTPS_PROXY
	[ -n "${no_proxy:-}" ] || [ -z "${NO_PROXY:-}" ] || no_proxy=$NO_PROXY
	[ -z "${http_proxy:-}" ] || export http_proxy
	[ -z "${https_proxy:-}" ] || export https_proxy
	[ -z "${no_proxy:-}" ] || export no_proxy
}

find_certificates() {
	CERTIFICATES=${CURL_CA_BUNDLE:-${SSL_CERT_FILE:-}}
	[ -z "$CERTIFICATES" ] || [ -r "$CERTIFICATES" ] || fail $EXIT_USAGE \
		"the certificates named by CURL_CA_BUNDLE or SSL_CERT_FILE cannot be read: $CERTIFICATES" \
		"Correct the variable or unset it."
	case $URL,$DOWNLOADER in
	https:*,wget-small)
		say "Note: this small wget cannot check certificates; install curl for a safer download."
		;;
	esac
}

# --- downloading --------------------------------------------------------------------------------------------------

# run_downloader URL FILE [resume] becomes curl or wget (exec), so that its process can be watched and stopped.
run_downloader() {
	LC_ALL=C # answer reads the words
	export LC_ALL
	case $DOWNLOADER in
	curl)
		set -- --output "$2" ${3:+--continue-at -} "$1"
		case $URL in
		https:*) set -- --proto-redir '=https' "$@" ;;
		esac
		[ -z "$CERTIFICATES" ] || set -- --cacert "$CERTIFICATES" "$@"
		exec curl --fail --location --silent --show-error --connect-timeout 20 --proto '=http,https' \
			--write-out '%{http_code}' "$@" >"$WORK/code" 2>"$WORK/errors"
		;;
	wget)
		set -- --output-document="$2" ${3:+--continue} "$1"
		[ -z "$CERTIFICATES" ] || set -- --ca-certificate="$CERTIFICATES" "$@"
		exec wget --no-verbose --tries=1 --connect-timeout=20 "$@" >/dev/null 2>"$WORK/errors"
		;;
	*)
		exec wget -q -O "$2" ${3:+-c} "$1" >/dev/null 2>"$WORK/errors"
		;;
	esac
}

size_of() {
	stat -c %s "$1" 2>/dev/null || echo 0
}

# watch PID FILE ends a download that has stood still too long, and shows on a terminal how far it is.
watch() {
	seen=
	still=0
	while kill -0 "$1" 2>/dev/null; do
		sleep 1 >/dev/null 2>&1
		size=$(size_of "$2")
		if [ "$size" != "$seen" ]; then
			seen=$size
			still=0
		else
			still=$((still + 1))
		fi
		if [ "$still" -ge "$STALL" ]; then
			: >"$WORK/stalled"
			kill "$1" 2>/dev/null
			return
		fi
		[ ! -t 2 ] || printf '\r  %s MB ' $((size / 1000000)) >&2
	done
}

# attempt URL FILE [resume]: one try. It runs in the background, as a shell only minds a signal while it waits.
attempt() {
	rm -f "$WORK/stalled" "$WORK/code" "$WORK/errors"
	run_downloader "$@" &
	FETCHER=$!
	watch "$FETCHER" "$2" &
	WATCHER=$!
	wait "$FETCHER" 2>/dev/null # dash would say "Terminated"
	result=$?
	FETCHER=
	kill "$WATCHER" 2>/dev/null
	wait "$WATCHER" 2>/dev/null
	WATCHER=
	[ ! -t 2 ] || printf '\r              \r' >&2
	return $result
}

# answer prints the server's answer (404 …), or nothing when there was none.
answer() {
	if [ -s "$WORK/code" ]; then
		sed 's/^000$//' "$WORK/code"
	else
		sed -n -e 's/.*ERROR \([0-9][0-9][0-9]\).*/\1/p' -e 's/.*HTTP\/[0-9.]* \([0-9][0-9][0-9]\).*/\1/p' \
			"$WORK/errors" 2>/dev/null | tail -n 1
	fi
}

pause() {
	sleep "$1" >/dev/null 2>&1 &
	PAUSE=$!
	wait "$PAUSE"
	PAUSE=
}

# fetch_if_there URL FILE: as fetch, but that there is none is an answer, too.
fetch_if_there() {
	MAY_BE_MISSING=yes
	fetch "$1" "$2" || rm -f "$2"
	MAY_BE_MISSING=
}

# fetch URL FILE: tries again after what may pass (no connection, a cut, a stall, an error within the server) and goes
# on where the last try ended.
fetch() {
	try=1
	while :; do
		resume=
		[ ! -s "$2" ] || [ $try = 1 ] || resume=yes
		if attempt "$1" "$2" $resume; then
			[ -e "$2" ] || : >"$2" # some make no file of an empty answer
			return 0
		fi
		code=$(answer)
		case $code,$MAY_BE_MISSING in
		404,yes | 410,yes | 403,yes) return 1 ;;
		esac
		case $code in
		416) rm -f "$2" ;; # a server that cannot go on: begin anew
		408 | 425 | 429) ;;
		4??) explain "$1" "$2" "$code" ;;
		esac
		case $DOWNLOADER,$result in
		curl,33) rm -f "$2" ;;                                   # curl's word for the same
		curl,60 | curl,77 | wget,5) explain "$1" "$2" "$code" ;; # a certificate does not get better
		esac
		if [ $try = $TRIES ] || disk_is_full "$2"; then
			explain "$1" "$2" "$code"
		fi
		say "  $(reason); trying again ($((try + 1)) of $TRIES)"
		pause $((try * 2 - 1))
		try=$((try + 1))
	done
}

reason() {
	if [ -e "$WORK/stalled" ]; then
		echo "no data for $STALL seconds"
		return
	fi
	# curl's and wget's own last line, without their name.
	words=$(sed -e 's/^curl: ([0-9]*) //' -e 's/^wget: //' -e '/^[[:space:]]*$/d' "$WORK/errors" 2>/dev/null | tail -n 1)
	echo "${words:-the connection broke off}"
}

disk_is_full() {
	free=$(df -Pk "$(dirname "$1")" 2>/dev/null | awk 'NR == 2 { print $4 }')
	[ -n "$free" ] && [ "$free" -lt 1024 ]
}

explain() {
	if disk_is_full "$2"; then
		fail $EXIT_FAILED "the disk with $(dirname "$2") is full." \
			"Free some space (df -h shows the disks; the hub needs about 2 GB), then paste the line again."
	fi
	case $3 in
	404 | 410) fail $EXIT_FAILED "there is no $1 (the server says $3)." \
		"Check the address of the release: it must be the folder with SHA256SUMS." ;;
	401 | 403) fail $EXIT_FAILED "the server denies access to $1 (it says $3)." \
		"Check the address, and whether this machine may read it." ;;
	407) fail $EXIT_FAILED "the proxy requires a name and a password (407)." \
		"Give them in the address: sudo https_proxy=http://NAME:PASSWORD@HOST:PORT bash ..." ;;
	esac
	fail $EXIT_FAILED "cannot download $1: $(reason)." \
		"Try it from this machine: curl -fI $1" \
		"If the network has a proxy: sudo https_proxy=http://HOST:PORT bash ... (sudo drops your own settings)." \
		"If the network has its own certificates: sudo CURL_CA_BUNDLE=/path/to/ca.pem bash ..." \
		"A wrong clock makes every certificate look invalid: date"
}

# --- checking and keeping -----------------------------------------------------------------------------------------

sum_of() {
	sha256sum <"$1" | cut -d ' ' -f 1
}

# find_sums reads from SHA256SUMS what the checksum of $FILE is (WANTED), and that of the same compressed (PACKED_SUM) where there is one and a
# program to unpack it.
find_sums() {
	fetch "$URL/SHA256SUMS" "$WORK/SHA256SUMS"
	WANTED=$(listed_sum "$FILE")
	[ -n "$WANTED" ] || fail $EXIT_FAILED "$URL/SHA256SUMS contains no checksum of $FILE." \
		"Either the address is not that of a release, or something in the network answered instead, such as" \
		"a login page: open the address in a browser, or look at it with: curl -fsSL $URL/SHA256SUMS"
	PACKED_SUM=
	! have gzip || PACKED_SUM=$(listed_sum "$FILE.gz")
}

listed_sum() {
	awk -v file="$1" '($2 == file || $2 == "*" file) && length($1) == 64 && $1 !~ /[^0-9a-f]/ { print $1; exit }' "$WORK/SHA256SUMS"
}

make_folders() {
	if [ ! -d "$ROOT" ]; then
		mkdir -p "${ROOT%/*}" && mkdir -m 0755 "$ROOT" && MADE_ROOT=yes
	fi
	if [ ! -d "$BIN_DIR" ]; then
		mkdir -m 0755 "$BIN_DIR" && MADE_BIN=yes
	fi
	[ -d "$BIN_DIR" ] || fail $EXIT_FAILED "cannot make the folder $BIN_DIR (see the line above)." \
		"Is the disk full (df -h /opt) or mounted read-only?"
}

# Halves of downloads whose process was killed outright.
remove_leftovers() {
	for leftover in "$BIN_DIR"/.tljh-install.*; do
		[ -e "$leftover" ] || continue
		kill -0 "${leftover##*.}" 2>/dev/null || rm -f "$leftover"
	done
}

# check_sum FILE NAME SUM
check_sum() {
	found=$(sum_of "$1")
	[ "$found" != "$3" ] || return 0
	size=$(size_of "$1")
	fail $EXIT_FAILED "the download is not the file that the release names." \
		"file      $URL/$2 ($size bytes received)" \
		"expected  sha256 $3" \
		"found     sha256 $found" \
		"It was deleted and not run. Likely causes: the download was cut short; a login page or a proxy answered" \
		"instead of the server; the release was being replaced at that moment. Paste the line again; if it" \
		"still fails, contact the publisher of the release."
}

# --- what may take the place of what -------------------------------------------------------------------------------

# verify lets the installed program judge the release whose checksums are in $WORK, before any of it takes its place: whether it is signed by the key
# that it trusts, older than one that was seen, and one that the hub which is here can go on with. Checksums that are signed make what fits them signed.
verify() {
	[ -e "$BINARY" ] && [ -z "$UNSIGNED" ] || return 0
	fetch_if_there "$URL/SHA256SUMS.minisig" "$WORK/SHA256SUMS.minisig"
	"$BINARY" verify-release --from "$URL" "$WORK" </dev/null >"$WORK/said" 2>&1
	verdict=$?
	case $verdict in
	0) cat "$WORK/said" >&2 ;;
	3 | 4) refuse $verdict ;;
	2) fail $EXIT_REFUSED "the installed program is too old: it cannot check the signature of its replacement." \
		"To upgrade the hub (this checks the signature): sudo tljh-install upgrade --from $URL" \
		"To replace it without a check: add --unsigned at the end of the pasted line" ;;
	130) exit $EXIT_INTERRUPTED ;;
	*)
		cat "$WORK/said" >&2
		fail $EXIT_REFUSED "the installed program does not work (exit code $verdict), so it cannot check the signature of its replacement." \
			"To see why: $BINARY version" \
			"To replace it without a check: add --unsigned at the end of the pasted line" ;;
	esac
}

# refuse ends with what a program said of why.
refuse() {
	cat "$WORK/said" >&2
	say "Nothing was changed: the installed program and the hub stay as they are."
	exit "$1"
}

# judge_itself asks the downloaded program whether it would go on with what is here, so that it replaces nothing in vain; one of an older release does
# not know the question. A disk may be mounted so that no program on it runs; the shell says 126 then.
judge_itself() {
	TLJH_UNSIGNED=$UNSIGNED "$PART" verify-release --self --from "$URL" </dev/null >"$WORK/said" 2>&1
	verdict=$?
	case $verdict in
	3 | 4) refuse $verdict ;;
	126) fail $EXIT_FAILED "cannot run $BINARY: permission denied." \
		"The disk with /opt seems to be mounted with noexec: findmnt -T $BIN_DIR" ;;
	esac
}

# download brings the installer to $PART, compressed where the release has it so.
download() {
	if [ -z "$PACKED_SUM" ]; then
		say "Downloading the installer ($URL/$FILE)"
		fetch "$URL/$FILE" "$PART"
		fetched=$PART
	else
		say "Downloading the installer ($URL/$FILE.gz)"
		PACKED=$BIN_DIR/.tljh-install.gz.$$
		fetch "$URL/$FILE.gz" "$PACKED"
		check_sum "$PACKED" "$FILE.gz" "$PACKED_SUM"
		gzip -dc <"$PACKED" >"$PART" || fail $EXIT_FAILED "cannot unpack the installer (see the line above)." "Is the disk full? df -h /opt"
		fetched=$PACKED
	fi
	check_sum "$PART" "$FILE" "$WANTED"
	say "  $(($(size_of "$fetched") / 1000000)) MB, checksum verified"
	[ -z "$PACKED" ] || rm -f "$PACKED"
}

# An old sync takes no name: then everything is written.
sync_to_disk() {
	sync "$1" 2>/dev/null || sync
}

# keep puts the checked file in its place so that a power cut leaves either the old one or the new one.
keep() {
	if chmod 0755 "$PART" && chown 0:0 "$PART" && sync_to_disk "$PART" && mv -f "$PART" "$BINARY"; then
		sync_to_disk "$BIN_DIR"
	else
		fail $EXIT_FAILED "cannot write $BINARY (see the line above)." "Is the disk full (df -h /opt) or mounted read-only?"
	fi
	PART='' PACKED='' MADE_ROOT='' MADE_BIN=''
}

get_binary() {
	if [ -f "$BINARY" ] && [ ! -L "$BINARY" ] && [ "$(sum_of "$BINARY")" = "$WANTED" ]; then
		say "The installer is already here."
		[ "$(stat -c %u:%g:%a "$BINARY")" = 0:0:755 ] || { chmod 0755 "$BINARY" && chown 0:0 "$BINARY"; }
		return
	fi
	verify
	make_folders
	remove_leftovers
	PART=$BIN_DIR/.tljh-install.$$
	download
	chmod 0755 "$PART"
	judge_itself
	keep
}

# take_options reads what is for this script, and refuses what could not work.
take_options() {
	before=
	for option in "$@"; do
		case $before,$option in
		*,--unsigned) UNSIGNED=yes ;;
		--admin-password-file,- | *,--admin-password-file=-) needs_input ;;
		esac
		before=$option
	done
}

# needs_input refuses to take a password from a standard input that this script itself comes from.
needs_input() {
	case $- in
	*s*) fail $EXIT_USAGE "--admin-password-file - reads standard input, which this script itself is read from." \
		"Name a file, or save the script first: bash bootstrap.sh --admin alice --admin-password-file -" ;;
	esac
}

main() {
	set -u
	umask 022
	case ${1:-} in
	-h | --help)
		usage
		return 0
		;;
	esac
	take_options "$@"
	for option in "$@"; do
		shift
		[ "$option" = --unsigned ] || set -- "$@" "$option"
	done
	STALL=${TLJH_DOWNLOAD_STALL:-30}
	case $STALL in
	*[!0-9]* | '' | 0) fail $EXIT_USAGE "TLJH_DOWNLOAD_STALL must be a number of seconds, not: $STALL" ;;
	esac

	check_linux
	check_root
	find_architecture
	check_systemd
	check_tools
	check_foreign
	find_release
	use_proxy_settings
	find_certificates

	trap clean_up EXIT
	trap interrupted INT TERM HUP
	WORK=$(mktemp -d "${TMPDIR:-/tmp}/tljh-bootstrap.XXXXXX") ||
		fail $EXIT_FAILED "cannot make a temporary folder (see the line above)." "Is the disk full? df -h ${TMPDIR:-/tmp}"
	FILE=tljh-install-linux-$ARCH
	case $STAMPED_VERSION in
	@*) say "The Littlest JupyterHub" ;;
	*) say "The Littlest JupyterHub $STAMPED_VERSION" ;;
	esac
	find_sums
	get_binary
	clean_up
	trap - EXIT INT TERM HUP
	exec "$BINARY" install "$@"
}

{ main "$@"; }
