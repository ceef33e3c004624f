"""The command line: verbs, flags, and how failures are told."""

import argparse
import os
import signal
import sys
import traceback

from conda_standin import MAMBA_VERSION, VERSION, activate, commands, settings
from conda_standin.errors import CondaError

VERBS = {
    "create": commands.create,
    "install": commands.install,
    "update": commands.update,
    "upgrade": commands.update,
    "remove": commands.remove,
    "uninstall": commands.remove,
    "list": commands.list_,
    "info": commands.info,
    "export": commands.export,
    "clean": commands.clean,
    "run": commands.run,
    "init": activate.init,
    "shell.posix": activate.shell,
    "shell.bash": activate.shell,
}
ENV_VERBS = {
    "create": commands.env_create,
    "update": commands.env_update,
    "remove": commands.env_remove,
    "list": commands.env_list,
    "export": commands.export,
}
# Flags that change nothing here: what they are about, this program does not have.
IGNORED = ("--no-pin", "--freeze-installed", "--update-deps", "--update-specs", "--no-update-deps", "--copy", "--no-shortcuts", "--strict-channel-priority")

# The flags that only some verbs have; everywhere else they are off.
FILE = ("--file",)
NEW = ("--no-deps",), ("--only-deps",)
EXPORT = ("--no-builds",), ("--from-history",)
OWN = {
    "create": [FILE, *NEW],
    "install": [FILE, *NEW, ("--force-reinstall",)],
    "update": [FILE, *NEW, ("--force-reinstall",), ("--all",)],
    "remove": [("--all",), ("--force-remove", "--force")],
    "list": [("--explicit",), ("--md5",), ("--sha256",), ("-e", "--export"), ("-f", "--full-name")],
    "info": [("--base",), ("-e", "--envs")],
    "export": [("-f", "--file"), *EXPORT],
    "clean": [("-a", "--all"), ("-t", "--tarballs"), ("-p", "--packages"), ("-i", "--index-cache")],
    "env create": [("-f", "--file")],
    "env update": [("-f", "--file"), ("--prune",)],
    "env export": [("-f", "--file"), *EXPORT],
}
SAME_AS = {"upgrade": "update", "uninstall": "remove"}


def flag(parser: argparse.ArgumentParser, *names: str) -> None:
    parser.add_argument(*names, action="store_true")


def common() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-p", "--prefix")
    where.add_argument("-n", "--name")
    parser.add_argument("-c", "--channel", action="append")
    flag(parser, "--override-channels")
    flag(parser, "-y", "--yes")
    flag(parser, "-d", "--dry-run")
    flag(parser, "-q", "--quiet")
    flag(parser, "--json")
    flag(parser, "--offline")
    flag(parser, "-k", "--insecure")
    parser.add_argument("-v", "--verbose", action="count")
    for name in ("--solver", "--experimental", "--repodata-fn", "--platform", "--subdir"):
        parser.add_argument(name)
    for name in IGNORED:
        flag(parser, name)
    return parser


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="conda", description="A stand-in for conda's command line, for tests.")
    flag(top, "-V", "--version")
    off = {names[-1].lstrip("-").replace("-", "_"): False for flags in OWN.values() for names in flags}
    top.set_defaults(**off | {"force_remove": False, "file": None, "specs": []})
    verbs = top.add_subparsers(dest="verb")
    for name in VERBS:
        one = verb_parser(verbs, name, SAME_AS.get(name, name))
        if name == "run":
            one.add_argument("--cwd")
            for ignored in ("--no-capture-output", "--live-stream", "-s"):
                flag(one, ignored)
        one.add_argument("specs", nargs=argparse.REMAINDER if name == "run" else "*")
    env = verbs.add_parser("env").add_subparsers(dest="env_verb", required=True)
    for name in ENV_VERBS:
        verb_parser(env, name, f"env {name}")
    return top


def verb_parser(verbs, name: str, flags: str) -> argparse.ArgumentParser:
    # "-p" is the environment's path everywhere but in clean, which has none.
    one = verbs.add_parser(name, parents=[common()] if name != "clean" else [], conflict_handler="resolve")
    if name == "clean":
        for names in (("-y", "--yes"), ("-d", "--dry-run"), ("-q", "--quiet"), ("--json",), ("--offline",), ("-k", "--insecure")):
            flag(one, *names)
    for names in OWN.get(flags, []):
        if names[-1] == "--file":
            one.add_argument(*names, action="append")
        else:
            flag(one, *names)
    return one


def root() -> str:
    return os.environ.get("CONDA_ROOT_PREFIX") or sys.prefix


def work(argv: list[str]) -> int:
    top = parser()
    args = top.parse_args(argv)
    if args.version:
        print(f"conda {VERSION}" if os.path.basename(sys.argv[0]) != "mamba" else MAMBA_VERSION)
        return 0
    if not args.verb:
        top.print_help()
        return 0
    try:
        found = settings.load(root(), os.environ)
        found.offline = found.offline or args.offline
        if args.insecure:
            found.ssl_verify = False
        verb = ENV_VERBS[args.env_verb] if args.verb == "env" else VERBS[args.verb]
        verb(args, found)
    except CondaError as error:
        tell(args, error)
        return error.exit_code
    except KeyboardInterrupt:
        tell(args, CondaError("CondaError", "KeyboardInterrupt"))
        return 1
    except OSError as error:
        tell(args, CondaError("CondaError", f"{type(error).__name__}: {error}"))
        return 1
    return 0


def tell(args: argparse.Namespace, error: CondaError) -> None:
    import json

    if not args.json:
        print(f"\n{error.kind}: {error}\n", file=sys.stderr)
    elif error.exit_code:
        print(json.dumps(error.as_json(), indent=2))


def conda() -> None:
    """Ends at once: rattler's threads may abort an interpreter that shuts down."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    code = 1
    try:
        code = work(sys.argv[1:])
        sys.stdout.flush()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:
        traceback.print_exc()  # a mistake of this program, or whoever read its output is gone: conda prints a report then
    sys.stderr.flush()
    os._exit(code)
