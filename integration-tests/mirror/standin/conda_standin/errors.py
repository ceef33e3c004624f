"""What can go wrong, by the names and in the words of conda's exceptions."""

from collections.abc import Iterable


class CondaError(Exception):
    """One that a person sees as "kind: message", and a program as JSON."""

    exit_code = 1

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind

    def as_json(self) -> dict:
        return {
            "caused_by": "None",
            "error": f"{self.kind}: {self}",
            "exception_name": self.kind,
            "exception_type": f"<class 'conda.exceptions.{self.kind}'>",
            "message": str(self),
        }


class DryRunExit(CondaError):
    exit_code = 0

    def __init__(self):
        super().__init__("DryRunExit", "Dry run. Exiting.")


class Declined(CondaError):
    exit_code = 0

    def __init__(self):
        super().__init__("CondaSystemExit", "Exiting.")


def listing(items: Iterable[str]) -> str:
    return "".join(f"\n  - {item}" for item in items)


def value_error(message: str) -> CondaError:
    return CondaError("CondaValueError", message)


def not_in_channels(specs: Iterable[str], channels: Iterable[str]) -> CondaError:
    return CondaError(
        "PackagesNotFoundInChannelsError",  # since 26.3; before it was PackagesNotFoundError, with the same words
        f"The following packages are not available from current channels:\n{listing(specs)}\n\nCurrent channels:\n{listing(channels)}\n",
    )


def not_in_environment(names: Iterable[str]) -> CondaError:
    return CondaError("PackagesNotFoundError", f"The following packages are missing from the target environment:{listing(names)}\n")


def unsatisfiable(reason: str) -> CondaError:
    return CondaError("LibMambaUnsatisfiableError", f"Encountered problems while solving:\n  - {reason}\n")


def no_environment(prefix: str) -> CondaError:
    return CondaError("EnvironmentLocationNotFound", f"Not a conda environment: {prefix}")


def no_conda_environment(prefix: str) -> CondaError:
    return CondaError(
        "DirectoryNotACondaEnvironmentError",
        "The target directory exists, but it is not a conda environment.\n"
        f"Use 'conda create' to convert the directory to a conda environment.\n  target directory: {prefix}\n",
    )


def not_writable(prefix: str, uid: int, gid: int) -> CondaError:
    return CondaError(
        "EnvironmentNotWritableError",
        f"The current user does not have write permissions to the target environment.\n  environment location: {prefix}\n  uid: {uid}\n  gid: {gid}\n",
    )


def no_writable_cache(folders: Iterable[str]) -> CondaError:
    return CondaError("NoWritablePkgsDirError", f"No writeable pkgs directories configured.{listing(folders)}")


def not_installed(prefix: str, name: str) -> CondaError:
    return CondaError("PackageNotInstalledError", f"Package is not installed in prefix.\n  prefix: {prefix}\n  package name: {name}")


def offline(url: str) -> CondaError:
    return CondaError("OfflineError", f"EnforceUnusedAdapter called with url {url}\nThis command is using a remote connection in offline mode.\n")


def http_error(url: str, status: int | None, reason: str | None, why: str = "") -> CondaError:
    code, words = ("000", "CONNECTION FAILED") if status is None else (f"{status:03}", (reason or "").upper())
    if status is not None and 500 <= status < 600:
        advice = "A remote server error occurred when trying to retrieve this URL."
    else:
        advice = "An HTTP error occurred when trying to retrieve this URL.\nHTTP errors are often intermittent, and a simple retry will get you on your way."
    cause = f"\n{why}" if why else ""
    return CondaError("CondaHTTPError", f"HTTP {code} {words} for url <{url}>\nElapsed: -\n\n{advice}\n'{url}'{cause}\n")


def ssl_error(why: str) -> CondaError:
    return CondaError("CondaSSLError", f"Encountered an SSL error. Most likely a certificate verification issue.\n\nException: {why}\n")


def proxy_error() -> CondaError:
    return CondaError(
        "ProxyError",
        "Conda cannot proceed due to an error in your proxy configuration.\nCheck for typos and other configuration errors in any '.netrc' file"
        " in your home directory,\nany environment variables ending in '_PROXY', and any other system-wide proxy\nconfiguration settings.\n",
    )


def invalid_channel(name: str, url: str, status: int, reason: str) -> CondaError:
    return CondaError(
        "UnavailableInvalidChannel",
        f"HTTP {status} {reason.upper()} for channel {name} <{url}>\n\nThe channel is not accessible or is invalid.\n\n"
        "You will need to adjust your conda configuration to proceed.\nUse `conda config --show channels` to view your configuration's current state,\n"
        "and use `conda config --show-sources` to view config file locations.\n",
    )


def checksum_mismatch(url: str, path: str, kind: str, expected: str, actual: str) -> CondaError:
    return CondaError(
        "ChecksumMismatchError",
        "Conda detected a mismatch between the expected content and downloaded content\n"
        f"for url '{url}'.\n  download saved to: {path}\n  expected {kind}: {expected}\n  actual {kind}: {actual}\n",
    )


def invalid_archive(path: str, why: str) -> CondaError:
    return CondaError(
        "InvalidArchiveError",
        f"Error with archive {path}.  You probably need to delete and re-download or re-create this file.  Message was:\n\n{why}\n",
    )
