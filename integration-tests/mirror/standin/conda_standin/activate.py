"""Activation: shell code on standard output, for a function of the shell to evaluate; and conda init, which puts that function into a shell's start file."""

import os
import shlex
import sys
from argparse import Namespace
from pathlib import Path

from conda_standin import errors
from conda_standin.settings import Settings

FUNCTION = """export CONDA_EXE={exe}
conda() {{
    case "${{1-__missing__}}" in
        activate|deactivate)
            ask_conda="$(PS1="${{PS1:-}}" "$CONDA_EXE" shell.posix "$@")" || return
            eval "$ask_conda"
            hash -r
            ;;
        *)
            "$CONDA_EXE" "$@"
            ;;
    esac
}}
if [ -z "${{CONDA_SHLVL+x}}" ]; then
    export CONDA_SHLVL=0
    PATH="{root}/condabin${{PATH:+":${{PATH}}"}}"
    export PATH
fi
conda activate {default}
"""

BLOCK = """
# >>> conda initialize >>>
# !! Contents within this block are managed by 'conda init' !!
__conda_setup="$('{exe}' 'shell.bash' 'hook' 2> /dev/null)"
if [ $? -eq 0 ]; then
    eval "$__conda_setup"
else
    export PATH="{root}/bin:$PATH"
fi
unset __conda_setup
# <<< conda initialize <<<
"""


def shell(args: Namespace, settings: Settings) -> None:
    verb, *rest = args.specs or ["hook"]
    if verb == "hook":
        print(FUNCTION.format(exe=shlex.quote(f"{settings.root}/bin/conda"), root=settings.root, default=shlex.quote(settings.default_activation_env)), end="")
    elif verb == "activate":
        print(activate(place(rest[0] if rest else settings.default_activation_env, settings)), end="")
    elif verb == "deactivate":
        print(deactivate(), end="")
    else:
        raise errors.CondaError("ArgumentError", f"shell.posix {verb}: invalid choice")


def place(name: str, settings: Settings) -> str:
    found = [settings.root] if name in ("base", "root") else [os.path.abspath(os.path.expanduser(name))] if "/" in name else []
    found = found or [f"{folder}/{name}" for folder in settings.envs_dirs if Path(folder, name, "conda-meta").is_dir()]
    if not found or not Path(found[0], "conda-meta").is_dir():
        hint = "You can list all discoverable environments with `conda info --envs`."
        raise errors.CondaError("EnvironmentNameNotFound", f"Could not find conda environment: {name}\n{hint}\n")
    return found[0]


def path_without(prefix: str) -> str:
    return os.pathsep.join(each for each in os.environ.get("PATH", "").split(os.pathsep) if each != f"{prefix}/bin")


def exports(**values: str) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def activate(prefix: str) -> str:
    level = int(os.environ.get("CONDA_SHLVL") or 0)
    before = os.environ.get("CONDA_PREFIX", "") if level else ""
    # conda's own folder comes first from then on, after deactivation, too.
    path = f"{prefix}/bin:{path_without(before)}" if before else f"{prefix}/bin:{sys.prefix}/condabin:{os.environ.get('PATH', '')}"
    stack = {f"CONDA_PREFIX_{level}": before} if before else {}
    return exports(PATH=path, CONDA_PREFIX=prefix, CONDA_SHLVL=str(level + 1), CONDA_DEFAULT_ENV=prefix, CONDA_EXE=f"{sys.prefix}/bin/conda", **stack)


def deactivate() -> str:
    level = int(os.environ.get("CONDA_SHLVL") or 0)
    if level == 0:
        return ""
    path, before = path_without(os.environ.get("CONDA_PREFIX", "")), os.environ.get(f"CONDA_PREFIX_{level - 1}", "")
    if level == 1 or not before:
        return "unset CONDA_PREFIX\nunset CONDA_DEFAULT_ENV\n" + exports(PATH=path, CONDA_SHLVL="0")
    return f"unset CONDA_PREFIX_{level - 1}\n" + exports(PATH=f"{before}/bin:{path}", CONDA_PREFIX=before, CONDA_SHLVL=str(level - 1), CONDA_DEFAULT_ENV=before)


def init(args: Namespace, settings: Settings) -> None:
    start = Path(os.path.expanduser("~"), ".bashrc")
    text = start.read_text(encoding="utf-8") if start.exists() else ""
    block = BLOCK.format(exe=f"{settings.root}/bin/conda", root=settings.root)
    if block in text:
        print(f"no change     {start}\nNo action taken.")
        return
    start.write_text(text + block, encoding="utf-8")
    print(f"modified      {start}\n\n==> For changes to take effect, close and re-open your current shell. <==\n")
