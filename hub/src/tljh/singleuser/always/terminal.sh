#!/bin/sh
# Opens a terminal with the user's login shell. Where the user's own files end the shell before it shows a prompt, there is one without them; where they do not
# come to an end, the user reads how to go on.

# Tenths of a second that a shell may take until it shows a prompt.
patience=${TLJH_PROMPT_PATIENCE:-100}

shell=${SHELL:-/bin/sh}
case ${shell##*/} in
bash) files='.bash_profile .bash_login .profile .bashrc' plain='--noprofile --norc' ;;
zsh) files='.zshenv .zprofile .zshrc .zlogin' plain='-f' ;;
fish) files='.config/fish/config.fish' plain='--no-config' ;;
*) exec "$shell" -l ;;
esac

# The user's own start files that are there.
own() {
    for file in $files; do
        [ ! -e "$HOME/$file" ] || printf ' ~/%s' "$file"
    done
}

# A shell that shows a prompt reads single keys from the terminal.
watch_for_prompt() {
    left=$patience
    while [ "$left" -gt 0 ]; do
        sleep 0.1
        modes=$(stty -F /dev/tty -a 2>/dev/null) || exit
        case $modes in *-icanon*) exit ;; esac
        left=$((left - 1))
    done
    printf '\r\n*** Your shell has not finished its own start files:%s\r\n' "$(own)" >/dev/tty
    printf '*** Press Ctrl+C to go on without the rest of them, then correct them.\r\n' >/dev/tty
}

trap : INT QUIT
watch_for_prompt &
watcher=$!
"$shell" -l
status=$?
kill "$watcher" 2>/dev/null || exit "$status"

echo
echo "*** Your shell ended before it showed a prompt. One of these files most often has a line \"exit\":$(own)"
echo '*** This is a shell without them. Correct the file, or put it aside, for example:'
echo '***     mv ~/.bashrc ~/bashrc-put-aside'
echo '*** Then open a new terminal.'
# shellcheck disable=SC2086 # options
exec "$shell" $plain
