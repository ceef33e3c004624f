"""What comes over the network: a channel's list of packages, and packages. Tried again, timed out and resumed by conda's settings."""

import hashlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from conda_standin import VERSION, errors
from conda_standin.settings import Settings, certificates

SUBDIRS = ("linux-64", "noarch")
CHUNK = 1 << 14  # a cut loses the chunk it is in
TRY_AGAIN = (413, 429, 500, 503)


class Network:
    def __init__(self, settings: Settings):
        self.settings = settings
        self.mine = threading.local()

    def session(self):
        """One for each thread."""
        if not hasattr(self.mine, "session"):
            import requests
            from requests.adapters import HTTPAdapter
            from urllib3.util import Retry

            session = requests.Session()
            retry = Retry(
                total=self.settings.remote_max_retries,
                backoff_factor=self.settings.remote_backoff_factor,
                status_forcelist=TRY_AGAIN,
                allowed_methods=("GET", "HEAD"),
                raise_on_status=False,
                respect_retry_after_header=False,
            )
            session.mount("http://", HTTPAdapter(max_retries=retry))
            session.mount("https://", HTTPAdapter(max_retries=retry))
            session.headers["User-Agent"] = f"conda/{VERSION} (stand-in)"
            session.proxies.update(self.settings.proxy_servers)
            session.verify = certificates(self.settings, os.environ)
            self.mine.session = session
        return self.mine.session

    @contextmanager
    def get(self, url: str, headers: dict[str, str] | None = None, method: str = "GET"):
        """An answer that is no error, to be read as it comes."""
        import requests
        from requests.exceptions import ChunkedEncodingError, ConnectionError, HTTPError, ProxyError, SSLError, Timeout

        if self.settings.offline:
            raise errors.offline(url)
        timeout = self.settings.remote_connect_timeout_secs, self.settings.remote_read_timeout_secs
        try:
            with self.session().request(method, url, headers=headers, stream=True, timeout=timeout, allow_redirects=True) as answer:
                answer.raise_for_status()
                yield answer
        except ProxyError as error:
            raise errors.proxy_error() from error
        except SSLError as error:
            raise errors.ssl_error(str(error)) from error
        except HTTPError as error:
            raise errors.http_error(url, error.response.status_code, error.response.reason) from error
        except (ChunkedEncodingError, ConnectionError, Timeout) as error:
            raise errors.http_error(url, None, None, str(error)) from error
        except requests.RequestException as error:
            raise errors.http_error(url, None, None, str(error)) from error

    def status_of(self, url: str) -> int | None:
        """How a server answers when it is only asked whether something is there; None where it does not answer."""
        import requests

        timeout = self.settings.remote_connect_timeout_secs, self.settings.remote_read_timeout_secs
        try:
            return self.session().head(url, timeout=timeout, allow_redirects=True).status_code
        except requests.RequestException:
            return None  # the request that follows says why


def local(url: str) -> Path | None:
    return Path(unquote(urlsplit(url).path)) if url.startswith("file://") else None


class Channels:
    """The lists of packages of some channels, kept in the first cache that can be written."""

    def __init__(self, network: Network, urls: list[str], cache: Path):
        self.network, self.urls, self.cache = network, urls, cache / "cache"

    def lists(self) -> list[tuple[str, str, Path]]:
        """Channel, subfolder and the file that holds its list, in the channels' order."""
        wanted = [(url, subdir) for url in self.urls for subdir in SUBDIRS]
        with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
            paths = list(pool.map(lambda each: self.fetch(*each), wanted))
        return [(url, subdir, path) for (url, subdir), path in zip(wanted, paths, strict=True) if path]

    def fetch(self, channel: str, subdir: str) -> Path | None:
        base = f"{channel}/{subdir}"
        if folder := local(base):
            path = folder / "repodata.json"
            if not path.exists():
                raise errors.invalid_channel(channel, channel, 404, "not found")
            return path
        kept = self.cache / (hashlib.md5(f"{base}/repodata.json".encode(), usedforsecurity=False).hexdigest()[:8] + ".json")
        if self.network.settings.offline:
            return kept if kept.exists() else None
        compressed = self.network.status_of(f"{base}/repodata.json.zst") == 200
        url = f"{base}/repodata.json{'.zst' if compressed else ''}"
        state = kept.with_suffix(".info.json")
        try:
            with self.network.get(url, headers=self.unless_changed(kept, state, url)) as answer:
                if answer.status_code == 304:
                    return kept
                return keep(answer, kept, state, url, compressed)
        except errors.CondaError as error:
            status = getattr(getattr(error.__cause__, "response", None), "status_code", None)
            if status in (403, 404) and subdir != "noarch":
                return None  # a channel may lack a platform, but not this one
            if status in (403, 404):
                raise errors.invalid_channel(channel.rsplit("/", 1)[-1], channel, status, error.__cause__.response.reason) from error
            raise

    def unless_changed(self, kept: Path, state: Path, url: str) -> dict[str, str]:
        try:
            known = json.loads(state.read_text(encoding="utf-8"))
        except OSError, ValueError:
            return {}
        if not kept.exists() or known.get("url") != url:
            return {}
        headers = {"If-None-Match": known.get("etag"), "If-Modified-Since": known.get("mod")}
        return {key: value for key, value in headers.items() if value}


def keep(answer, kept: Path, state: Path, url: str, compressed: bool) -> Path:
    data = answer.content
    try:
        if compressed:
            from compression import zstd

            data = zstd.decompress(data)
        json.loads(data)
    except Exception as error:
        raise errors.http_error(url, None, None, f"The list of packages can't be read: {error}") from error
    kept.parent.mkdir(parents=True, exist_ok=True)
    replace(kept, data)
    known = {"url": url, "etag": answer.headers.get("ETag"), "mod": answer.headers.get("Last-Modified")}
    replace(state, json.dumps(known).encode())
    return kept


def replace(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(path)


def download(network: Network, url: str, to: Path, *, sha256: str = "", md5: str = "", size: int | None = None) -> None:
    """Goes on where an earlier try ended. Nothing has the file's name before its checksum is right."""
    if source := local(url):
        to.write_bytes(source.read_bytes())
        check(to, to, url, sha256, md5)
        return
    part = to.with_name(to.name + ".partial")
    with open(part, "ab") as file:
        there = file.tell()
        if size is None or there < size:
            headers = {"Range": f"bytes={there}-"} if there else None
            with network.get(url, headers=headers) as answer:
                if there and answer.status_code != 206:
                    file.seek(0)
                    file.truncate()
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
    check(part, to, url, sha256, md5)
    part.replace(to)


def check(part: Path, to: Path, url: str, sha256: str, md5: str) -> None:
    kind, expected = ("sha256", sha256) if sha256 else ("md5", md5)
    if expected and (actual := digest(part, kind)) != expected:
        part.unlink()
        raise errors.checksum_mismatch(url, str(to), kind, expected, actual)


def digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
