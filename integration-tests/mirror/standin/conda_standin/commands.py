"""What the verbs do. Each gets the parsed command line and the settings, and prints for a person or, with --json, for a program."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

from conda_standin import VERSION, errors, specs
from conda_standin.cache import SUFFIXES, described, locked, same, stem, writable
from conda_standin.net import SUBDIRS, Network, digest, download
from conda_standin.prefix import Prefix, as_json, pip_as_json, register, registered, unregister
from conda_standin.settings import Settings
from conda_standin.specs import Asked, Pinned
from conda_standin.transaction import Change, Index, carry_out, requested_of

HOME = os.path.expanduser("~")


def say(args: Namespace, data, text: str) -> None:
    if args.json:
        print(json.dumps(data, indent=2))
    elif text and not args.quiet:
        print(text)


def target(args: Namespace, settings: Settings) -> Prefix:
    """The environment that is meant: the one that is named, else the active one, else the base."""
    if args.prefix:
        return Prefix(args.prefix)
    if args.name:
        if args.name in ("base", "root"):
            return Prefix(settings.root)
        if "/" in args.name:
            return Prefix(args.name)
        there = [each for each in settings.envs_dirs if os.path.isdir(f"{each}/{args.name}")]
        return Prefix(f"{(there or settings.envs_dirs)[0]}/{args.name}")
    return Prefix(os.environ.get("CONDA_PREFIX") or settings.root)


def channels(args: Namespace, settings: Settings, asked: list[Asked]) -> list[str]:
    if args.override_channels and not args.channel:
        raise errors.CondaError("ArgumentError", "At least one -c / --channel flag must be supplied when using --override-channels.")
    named = [*(args.channel or []), *([] if args.override_channels else settings.channels), *(each.channel for each in asked if each.channel)]
    # "defaults" are Anaconda's own: not for a mirror.
    return list(dict.fromkeys(specs.channel_url(each, settings.channel_alias) for each in named if each not in ("defaults", "nodefaults")))


def confirm(args: Namespace, settings: Settings) -> None:
    if args.dry_run:
        raise errors.DryRunExit
    if args.yes or args.json or settings.always_yes:
        return
    print("Proceed ([y]/n)? ", end="", flush=True)
    if sys.stdin.readline().strip().lower() in ("n", "no"):
        raise errors.Declined


def go(args: Namespace, settings: Settings, network: Network, change: Change) -> None:
    prefix = change.prefix
    if not change.link and not change.unlink:
        done = {"success": True, "prefix": prefix.path, "message": "All requested packages already installed."}
        say(args, done, "\n# All requested packages already installed.\n")
        return
    lists = {key: [as_json(each, settings.channel_alias) for each in records] for key, records in (("UNLINK", change.unlink), ("LINK", change.link))}
    data = {"success": True, "prefix": prefix.path, "dry_run": args.dry_run, "actions": {"PREFIX": prefix.path, "FETCH": [], **lists}}
    if not args.json:
        say(args, None, plan(change))
    elif args.dry_run:
        print(json.dumps(data, indent=2))
    confirm(args, settings)
    carry_out(settings, network, change, sys.argv)
    say(args, data, "\nPreparing transaction: done\nVerifying transaction: done\nExecuting transaction: done")


def plan(change: Change) -> str:
    lines = ["\n## Package Plan ##\n", f"  environment location: {change.prefix.path}\n"]
    if change.asked:
        lines.append(f"  {'removed' if change.verb == 'remove' else 'added / updated'} specs:{errors.listing(change.asked)}\n")
    for sign, records in (("-", change.unlink), ("+", change.link)):
        lines += [f"  {sign} {each.name.normalized}-{each.version}-{each.build}" for each in records]
    return "\n".join(lines) + "\n"


def parsed(texts: list[str]) -> list[Asked]:
    try:
        return [specs.parse(each) for each in texts]
    except ValueError as error:
        raise errors.CondaError("InvalidMatchSpec", str(error)) from error


def create(args: Namespace, settings: Settings) -> None:
    prefix = target(args, settings)
    if not args.prefix and not args.name:
        raise errors.CondaError("ArgumentError", "one of the arguments -n/--name -p/--prefix is required")
    if prefix.path == settings.root:
        raise errors.value_error("The target prefix is the base prefix. Aborting.")
    begin(args, settings, prefix)
    if not (args.specs or args.file or settings.create_default_packages):
        with prefix.begun():
            prefix.note(sys.argv, [], [], "update", [])
        register(prefix.path, HOME)
        say(args, {"success": True, "prefix": prefix.path}, "")
        return
    args.specs = [*args.specs, *settings.create_default_packages]
    add(args, settings, prefix, create=True)


def begin(args: Namespace, settings: Settings, prefix: Prefix) -> None:
    """Makes room for a new environment."""
    if prefix.exists():
        if args.dry_run:
            return
        if not (args.yes or settings.always_yes or args.json):
            print(f"WARNING: A conda environment already exists at '{prefix.path}'\n")
            confirm(args, settings)
        prefix.must_be_writable()
        shutil.rmtree(prefix.path)
    parent = Path(prefix.path)
    while not parent.exists():
        parent = parent.parent
    if not os.access(parent, os.W_OK | os.X_OK):
        raise errors.CondaError("NotWritableError", f"The current user does not have write permissions to a required path.\n  path: {prefix.path}\n")


def install(args: Namespace, settings: Settings) -> None:
    prefix = target(args, settings)
    prefix.must_be_writable()
    if not (args.specs or args.file):
        raise errors.value_error("too few arguments, must supply command line package specs or --file")
    add(args, settings, prefix)


def update(args: Namespace, settings: Settings) -> None:
    prefix = target(args, settings)
    prefix.must_be_writable()
    if not (args.specs or args.file or args.all):
        raise errors.value_error("no package names supplied\n# Example: conda update -n myenv scipy")
    have = prefix.records()
    for each in parsed(args.specs):
        if each.name not in have:
            raise errors.not_installed(prefix.path, each.name)
    add(args, settings, prefix, update=True)


def add(args: Namespace, settings: Settings, prefix: Prefix, create: bool = False, update: bool = False) -> None:
    """What create, install and update have in common."""
    texts = list(args.specs)
    for name in args.file or []:
        text = read(name)
        if (pinned := specs.explicit(text)) is not None:
            add_explicit(args, settings, prefix, pinned, create)
            return
        texts += specs.meaningful(text)
    archives = [each for each in texts if each.endswith(SUFFIXES)]
    if archives:
        add_explicit(args, settings, prefix, [Pinned(each if "://" in each else Path(each).resolve().as_uri()) for each in archives], create)
        return
    asked = parsed(texts)
    have = {} if create else prefix.records()
    network = Network(settings)
    index = Index(network, channels(args, settings, asked))
    index.must_have(asked)
    names = {each.name for each in asked}
    if args.no_deps:
        chosen = {each.name: index.newest(each) for each in asked}
        want = list({**have, **chosen}.values())
    else:
        unlocked = (set(have) if args.all else names) if update else set()
        pins = [each.spec for each in parsed([*prefix.pinned(), *settings.pinned_packages])]
        want = solve(index, asked, have, unlocked, pins)
    if args.only_deps:
        want = [each for each in want if each.name.normalized not in names or each.name.normalized in have]
    again = frozenset(names if args.force_reinstall else ())
    requested = [each.spec for each in asked] + [spec for spec in requested_of(have) if specs.parse(spec).name not in names]
    go(args, settings, network, Change(prefix, want, [each.text for each in asked], requested, again, create=create))


def read(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise errors.CondaError("CondaFileIOError", f"'{name}'. {error.strerror}") from error


def solve(index: Index, asked: list[Asked], have: dict, unlocked: set[str], pins: list[str]) -> list:
    names = {each.name for each in asked}
    wanted = [each.spec for each in asked]
    for name, record in have.items():
        if name in names:
            continue
        # What somebody once asked for holds on; the others stay in whatever version fits.
        earlier = [] if name in unlocked else [spec for spec in record.requested_specs or [] if specs.parse(spec).name == name]
        wanted += earlier or [name]
    locked_records = [record for name, record in have.items() if name not in unlocked]
    return index.solve(wanted, locked_records, pins)


def add_explicit(args: Namespace, settings: Settings, prefix: Prefix, pinned: list[Pinned], create: bool) -> None:
    """Just these packages, whatever they depend on: nothing is solved."""
    network = Network(settings)
    if args.dry_run:
        raise errors.DryRunExit
    fetched = [explicit_record(network, settings, each) for each in pinned]
    have = {} if create else prefix.records()
    want = {**have, **{record.name.normalized: record for record in fetched}}
    asked = [f"{record.name.normalized}=={record.version}" for record in fetched]
    requested = [specs.parse(each).spec for each in asked] + [spec for spec in requested_of(have) if specs.parse(spec).name not in want]
    again = frozenset(record.name.normalized for record in fetched) if args.force_reinstall else frozenset()
    go(args, settings, network, Change(prefix, list(want.values()), asked, requested, again, create=create))


def explicit_record(network: Network, settings: Settings, pinned: Pinned):
    """A package that is known by its address only describes itself, so it must be here first."""
    import asyncio

    from rattler import PackageRecord, RepoDataRecord

    file_name = pinned.url.rsplit("/", 1)[-1]
    channel = pinned.url.rsplit("/", 2)[0]
    for each in settings.pkgs_dirs:
        folder = Path(each, stem(file_name))
        known = described(folder)
        if known and specs.same_package(pinned, known):
            record = PackageRecord.from_index_json(folder / "info" / "index.json", sha256=known.get("sha256"), md5=known.get("md5"))
            return RepoDataRecord(record, file_name, pinned.url, channel)
    home = writable(settings.pkgs_dirs)
    archive = home / file_name
    with locked(home / ".standin.lock"):
        if not (archive.is_file() and same(archive, pinned.sha256, pinned.md5)):
            archive.unlink(missing_ok=True)
            download(network, pinned.url, archive, sha256=pinned.sha256, md5=pinned.md5)
    record = asyncio.run(archive_record(RepoDataRecord, archive))
    record.url, record.channel = pinned.url, channel
    record.sha256, record.md5 = (bytes.fromhex(digest(archive, kind)) for kind in ("sha256", "md5"))
    return record


async def archive_record(kind, archive: Path):
    try:
        return await kind.from_package_archive(archive)
    except Exception as error:
        archive.unlink(missing_ok=True)
        raise errors.invalid_archive(str(archive), str(error)) from error


def remove(args: Namespace, settings: Settings) -> None:
    prefix = target(args, settings)
    if args.all and not prefix.exists() and not os.path.isdir(prefix.path):
        raise errors.no_environment(prefix.path)
    prefix.must_be_writable()
    if args.all:
        remove_all(args, settings, prefix)
        return
    if not args.specs:
        raise errors.value_error('no package names supplied,\n       try "conda remove -h" for more details')
    have = prefix.records()
    asked = parsed(args.specs)
    if missing := [each.text for each in asked if each.name not in have]:
        raise errors.not_in_environment(missing)
    keep = remaining({name: needs(record) for name, record in have.items()}, {each.name for each in asked}, asked_for(have), args.force_remove)
    want = [have[name] for name in have if name in keep]
    requested = requested_of({record.name.normalized: record for record in want})
    go(args, settings, Network(settings), Change(prefix, want, [each.text for each in asked], requested, verb="remove"))


def needs(record) -> set[str]:
    return {each.split(" ")[0] for each in record.depends}


def asked_for(records: dict) -> set[str]:
    return {name for name, record in records.items() if record.requested_specs}


def remaining(depends: dict[str, set[str]], gone: set[str], asked: set[str], force: bool) -> set[str]:
    """What stays: what needs a removed package goes too, and so does what nobody needs any more."""
    if force:
        return set(depends) - gone
    gone = set(gone)
    while more := {name for name, needed in depends.items() if name not in gone and needed & gone}:
        gone |= more
    keep: set[str] = set()
    todo = [name for name in depends if name in asked and name not in gone]
    while todo:
        name = todo.pop()
        if name in depends and name not in gone and name not in keep:
            keep.add(name)
            todo += depends[name]
            if name == "python":
                todo.append("pip")
    return keep


def remove_all(args: Namespace, settings: Settings, prefix: Prefix) -> None:
    if prefix.path == settings.root:
        raise errors.CondaError("CondaEnvironmentError", "cannot remove root environment, add -n NAME or -p PREFIX option")
    if args.dry_run:
        raise errors.DryRunExit
    shutil.rmtree(prefix.path)
    unregister(prefix.path, HOME)
    say(args, {"success": True, "prefix": prefix.path}, f"\nRemove all packages in environment {prefix.path}:\n")


def list_(args: Namespace, settings: Settings) -> None:
    prefix = target(args, settings)
    prefix.must_exist()
    have = prefix.records()
    if args.explicit:
        head = "# This file may be used to create an environment using:\n# $ conda create --name <env> --file <this file>\n# platform: linux-64\n@EXPLICIT"
        print("\n".join([head, *(address(record, args) for record in have.values())]))
        return
    rows = [as_json(record, settings.channel_alias) for record in have.values()]
    rows += [pip_as_json(name, version) for name, version in prefix.from_pip(have).items()]
    rows = chosen(sorted(rows, key=lambda row: row["name"]), args)
    if args.export:
        print("\n".join(["# platform: linux-64", *(f"{row['name']}={row['version']}={row['build_string']}" for row in rows)]))
        return
    head = f"# packages in environment at {prefix.path}:\n#\n# {'Name':<24} {'Version':<16} {'Build':<16} Channel"
    say(args, rows, "\n".join([head, *(f"{row['name']:<26} {row['version']:<16} {row['build_string']:<16} {row['channel']}" for row in rows)]))


def address(record, args: Namespace) -> str:
    if args.md5:
        return f"{record.url}#{record.md5.hex()}" if record.md5 else record.url
    if args.sha256:
        return f"{record.url}#sha256:{record.sha256.hex()}" if record.sha256 else record.url
    return record.url


def chosen(rows: list[dict], args: Namespace) -> list[dict]:
    import re

    if not args.specs:
        return rows
    pattern = args.specs[0]
    return [row for row in rows if (row["name"] == pattern if args.full_name else re.search(pattern, row["name"]))]


def info(args: Namespace, settings: Settings) -> None:
    if args.base:
        say(args, {"root_prefix": settings.root}, settings.root)
        return
    if args.envs:
        env_list(args, settings)
        return
    urls = channels(args, settings, [])
    active = os.environ.get("CONDA_PREFIX")
    data = {
        "active_prefix": active,
        "channels": [f"{url}/{subdir}" for url in urls for subdir in SUBDIRS],
        "conda_prefix": settings.root,
        "conda_version": VERSION,
        "config_files": settings.sources,
        "default_prefix": active or settings.root,
        "envs": environments(settings),
        "envs_dirs": settings.envs_dirs,
        "offline": settings.offline,
        "pkgs_dirs": settings.pkgs_dirs,
        "platform": SUBDIRS[0],
        "python_version": f"{sys.version.split()[0]}.final.0",
        "root_prefix": settings.root,
        "root_writable": os.access(settings.root, os.W_OK),
        "solver": {"name": "rattler", "user_agent": "stand-in", "default": True},
        "sys.prefix": sys.prefix,
    }
    say(args, data, "\n".join(f"{key:>20} : {value}" for key, value in data.items()))


def environments(settings: Settings) -> list[str]:
    known = [settings.root, *registered(HOME)]
    for folder in settings.envs_dirs:
        if os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK):
            known += sorted(f"{folder}/{name}" for name in os.listdir(folder))
    return [each for each in dict.fromkeys(known) if Path(each, "conda-meta", "history").is_file()]


def env_list(args: Namespace, settings: Settings) -> None:
    found = environments(settings)
    rows = [f"{'base' if each == settings.root else Path(each).name if Path(each).parent.name == 'envs' else '':<22} {each}" for each in found]
    say(args, {"envs": found}, "\n".join(["# conda environments:", "#", *rows]))


def env_file(args: Namespace) -> dict:
    import yaml

    names = args.file or ["environment.yml"]
    if not os.path.exists(names[0]):
        raise errors.CondaError("EnvironmentFileNotFound", f"'{os.path.abspath(names[0])}' file not found")
    try:
        data = yaml.safe_load(read(names[0])) or {}
    except yaml.YAMLError as error:
        raise errors.CondaError("EnvironmentFileNotValid", f"{names[0]} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise errors.CondaError("EnvironmentFileNotValid", f"{names[0]} holds no mapping")
    return data


def env_create(args: Namespace, settings: Settings) -> None:
    data = env_file(args)
    args.name = args.name or (None if args.prefix else data.get("name"))
    prefix = target(args, settings)
    if prefix.exists() and not args.yes:
        raise errors.value_error(f"prefix already exists: {prefix.path}")
    from_file(args, data)
    create(args, settings)
    pip_part(args, prefix, data)


def env_update(args: Namespace, settings: Settings) -> None:
    data = env_file(args)
    args.name = args.name or (None if args.prefix or os.environ.get("CONDA_PREFIX") else data.get("name"))
    prefix = target(args, settings)
    from_file(args, data)
    if not prefix.exists():
        create(args, settings)
    elif args.specs and args.prune:
        prefix.must_be_writable()
        prune(args, settings, prefix)
    elif args.specs:
        install(args, settings)
    pip_part(args, prefix, data)


def from_file(args: Namespace, data: dict) -> None:
    args.specs = [each for each in data.get("dependencies") or [] if isinstance(each, str)]
    args.channel = [*(args.channel or []), *(each for each in data.get("channels") or [] if each != "nodefaults")]
    args.override_channels = "nodefaults" in (data.get("channels") or [])
    args.file = None
    args.yes = True


def prune(args: Namespace, settings: Settings, prefix: Prefix) -> None:
    """Only what the file asks for stays."""
    network, asked = Network(settings), parsed(args.specs)
    index = Index(network, channels(args, settings, asked))
    index.must_have(asked)
    want = index.solve([each.spec for each in asked], list(prefix.records().values()), [])
    go(args, settings, network, Change(prefix, want, [each.text for each in asked], [each.spec for each in asked]))


def pip_part(args: Namespace, prefix: Prefix, data: dict) -> None:
    wanted = [str(one) for each in data.get("dependencies") or [] if isinstance(each, dict) for one in each.get("pip") or []]
    if not wanted or args.dry_run:
        return
    with tempfile.NamedTemporaryFile("w", suffix=".requirements.txt", encoding="utf-8") as file:
        file.write("\n".join(wanted) + "\n")
        file.flush()
        done = subprocess.run([f"{prefix.path}/bin/python", "-m", "pip", "install", "-U", "-r", file.name], check=False, stdout=sys.stderr)
    if done.returncode:
        raise errors.CondaError("CondaEnvException", "Pip failed")


def env_remove(args: Namespace, settings: Settings) -> None:
    args.all, args.specs = True, []
    remove(args, settings)


def export(args: Namespace, settings: Settings) -> None:
    prefix = target(args, settings)
    prefix.must_exist()
    have = dict(sorted(prefix.records().items()))
    wanted = [name for name, record in have.items() if record.requested_specs or not args.from_history]
    packages = [exported(have[name], args) for name in wanted]
    pips = [] if args.from_history else [f"{name}=={version}" for name, version in prefix.from_pip(have).items()]
    used = dict.fromkeys(specs.channel_name(record.channel or "", settings.channel_alias) for record in have.values())
    name = "base" if prefix.path == settings.root else Path(prefix.path).name if Path(prefix.path).parent.name == "envs" else prefix.path
    data = {"name": name, "channels": list(used), "dependencies": [*packages, *([{"pip": pips}] if pips else [])], "prefix": prefix.path}
    if args.json:
        print(json.dumps(data, indent=2))
        return
    import yaml

    text = yaml.safe_dump(data, sort_keys=False, default_flow_style=False)
    if args.file:
        Path(args.file[0]).write_text(text, encoding="utf-8")
    else:
        print(text, end="")


def exported(record, args: Namespace) -> str:
    if args.from_history:
        return str(record.requested_specs[0])
    return f"{record.name.normalized}={record.version}" + ("" if args.no_builds else f"={record.build}")


def clean(args: Namespace, settings: Settings) -> None:
    if not (args.all or args.tarballs or args.packages or args.index_cache):
        raise errors.CondaError("ArgumentError", "At least one removal target must be given. See 'conda clean --help'.")
    removed = []
    for folder in settings.pkgs_dirs:
        if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
            continue
        for path in sorted(Path(folder).iterdir()):
            if to_clean(path, args):
                removed.append(str(path))
                if not args.dry_run:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    say(
        args,
        {"success": True, "removed": removed},
        "\n".join(f"Will remove {each}" for each in removed) or "There are no unused packages or archives to remove.",
    )


def to_clean(path: Path, args: Namespace) -> bool:
    if path.is_dir():
        return (path.name == "cache" and (args.all or args.index_cache)) or ((path / "info").is_dir() and (args.all or args.packages) and unused(path))
    return path.name.endswith((*SUFFIXES, ".partial")) and (args.all or args.tarballs)


def unused(folder: Path) -> bool:
    """Whether no environment has links to a package's files."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and "info" not in path.relative_to(folder).parts[:1])
    return all(path.stat().st_nlink == 1 for path in files)


def run(args: Namespace, settings: Settings) -> None:
    prefix = target(args, settings)
    prefix.must_exist()
    if not args.specs:
        raise errors.value_error("No command specified.")
    environ = {**os.environ, "PATH": f"{prefix.path}/bin:{os.environ.get('PATH', '/usr/bin:/bin')}", "CONDA_PREFIX": prefix.path}
    command = args.specs[1:] if args.specs[0] == "--" else args.specs
    if shutil.which(command[0], path=environ["PATH"]) is None:
        print(f"{command[0]}: command not found", file=sys.stderr)
        raise SystemExit(127)
    raise SystemExit(subprocess.run(command, env=environ, check=False, cwd=args.cwd).returncode)
