package installer

import "tljh/internal/layout"

// profile gives users' terminals what their notebooks have: login shells set a PATH of their own. conda activate changes the shell that it is typed in, so
// that it is a function there. Shells of the hub's terminals get it in any case; conda init is not needed, and does no harm.
const profile = `# Made by tljh-install. In terminals of the hub, the environment that all users share comes first; never for root, as
# others can write into it.
if [ -n "${JUPYTERHUB_USER-}" ] && [ "$(id -u)" != 0 ]; then
	PATH="` + layout.Shims + `:` + layout.User + `/bin:$PATH"
	if [ -x ` + layout.Conda + `/bin/conda ]; then
		conda() {
			case "${1-}" in
			activate | deactivate)
				__tljh_conda=$(PS1="${PS1-}" ` + layout.Conda + `/bin/conda shell.posix "$@") || {
					unset __tljh_conda
					return 1
				}
				eval "$__tljh_conda"
				unset __tljh_conda
				hash -r
				;;
			*) ` + layout.Shims + `/conda "$@" ;; # activation puts conda's own program first
			esac
		}
	fi
fi
`

// needRestart is Perl, as needrestart's config is: a service that one of these rules matches is not restarted unasked.
const needRestart = `# Made by tljh-install. People are working in these: they use what was updated when they start their server the next time.
$nrconf{override_rc}{qr(^jupyter-.+\.service$)} = 0;
`
