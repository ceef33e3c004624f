"""Texts that conda reads and writes: what people ask for, lists of addresses, entries of the history. Nothing here touches a file."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

NAME = re.compile(r"[A-Za-z0-9_.\-]+")


@dataclass(frozen=True)
class Asked:
    """A package as a person asks for it on the command line."""

    text: str  # as it was written
    name: str
    rest: str  # what version and build must be, in the form of a match spec; nothing for any
    channel: str = ""

    @property
    def spec(self) -> str:
        return f"{self.name} {self.rest}".strip()


def parse(text: str) -> Asked:
    """On the command line a single "=" means "begins with": name=1.2 is any 1.2.x, name==1.2 just that, name=1.2=0 that build."""
    channel, _, spec = text.strip().rpartition("::")
    match = NAME.match(spec)
    if not match:
        raise ValueError(f"invalid package specification: {text}")
    name, rest = match[0].lower(), spec[match.end() :].strip()
    if rest.startswith("["):
        rest = bracketed(rest)
    elif rest.startswith("=") and not rest.startswith("=="):
        version, _, build = rest[1:].partition("=")
        rest = f"{fuzzy(version.strip())} {build.strip()}".strip()
    elif match := re.fullmatch(r"(==?[^=,|\s]+)=([^=,|\s]+)", rest):
        rest = f"{match[1]} {match[2]}"
    return Asked(text.strip(), name, rest, channel)


def fuzzy(version: str) -> str:
    return version if re.search(r"[*<>|,!~=]", version) else f"{version}.*"


def bracketed(text: str) -> str:
    fields = dict(re.findall(r"""(\w+)\s*=\s*["']?([^"',\]]+)""", text))
    return f"{fields.get('version', '')} {fields.get('build', '')}".strip()


@dataclass(frozen=True)
class Pinned:
    """A line of an @EXPLICIT list."""

    url: str
    md5: str = ""
    sha256: str = ""


def same_package(pinned: Pinned, known: dict) -> bool:
    """Whether an unpacked package, as its repodata_record.json has it, is the one that a list names: by checksum, or else by address."""
    if pinned.sha256 or pinned.md5:
        return all(not value or known.get(kind) == value for kind, value in (("sha256", pinned.sha256), ("md5", pinned.md5)))
    return known.get("url") == pinned.url


def meaningful(text: str) -> list[str]:
    """The lines of a file of specs, without comments."""
    lines = (line.split(" #")[0].strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def explicit(text: str) -> list[Pinned] | None:
    """The packages of an @EXPLICIT list; None when the text is none."""
    lines = meaningful(text)
    if "@EXPLICIT" not in lines:
        return None
    pinned = []
    for line in lines:
        if line == "@EXPLICIT":
            continue
        url, _, digest = line.partition("#")
        kind, _, value = digest.rpartition(":")
        if kind == "sha256" or len(value) == 64:
            pinned.append(Pinned(url, sha256=value))
        else:
            pinned.append(Pinned(url, md5=value))
    return pinned


def history_entry(when: datetime, command: list[str], version: str, *, removed: Iterable[str], added: Iterable[str], verb: str, specs: list[str]) -> str:
    lines = [f"==> {when:%Y-%m-%d %H:%M:%S} <==", f"# cmd: {' '.join(command)}", f"# conda version: {version}"]
    lines += [f"-{each}" for each in sorted(removed)]
    lines += [f"+{each}" for each in sorted(added)]
    if specs:
        lines.append(f"# {verb} specs: {specs}")
    return "\n".join(lines) + "\n"


def channel_url(channel: str, alias: str) -> str:
    """Where a channel is: a name stands for a folder below the alias."""
    if "://" in channel:
        return channel.rstrip("/")
    if channel.startswith(("/", "./", "~")):
        from pathlib import Path

        return Path(channel).expanduser().resolve().as_uri()
    return f"{alias.rstrip('/')}/{channel.strip('/')}"


def channel_name(url: str, alias: str) -> str:
    """What lists call a channel: its name where it is below the alias, else its whole address."""
    url = url.rstrip("/")
    name = url.removeprefix(alias.rstrip("/") + "/") if alias else url
    return url if name == url else name
