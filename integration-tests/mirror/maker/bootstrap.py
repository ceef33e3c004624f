"""Makes the base environment out of the packages that an installer brought. It runs on the Python among them, with nothing else there yet."""

import io
import os
import shutil
import sys
import tarfile
import zipfile
from compression import zstd
from pathlib import Path


def unpack(archive: Path, to: Path) -> None:
    """Only what can be imported."""
    with zipfile.ZipFile(archive) as parts:
        name = next(name for name in parts.namelist() if name.startswith("pkg-"))
        data = zstd.decompress(parts.read(name))
    with tarfile.open(fileobj=io.BytesIO(data)) as files:
        for member in files:
            _, found, rest = member.name.partition("site-packages/")
            if found and member.isfile():
                member.name = rest
                files.extract(member, to, filter="data")


def main(prefix: Path) -> None:
    library = prefix / ".bootstrap"
    for archive in sorted((prefix / "pkgs").glob("*.conda")):
        unpack(archive, library)
    sys.path.insert(0, str(library))
    (prefix / "conda-meta").mkdir(exist_ok=True)
    (prefix / "conda-meta" / "history").touch()
    for name in [name for name in os.environ if name.startswith(("CONDA", "PYTHON"))]:
        del os.environ[name]
    os.environ |= {"CONDA_ROOT_PREFIX": str(prefix), "CONDA_PKGS_DIRS": str(prefix / "pkgs"), "CONDARC": "", "HOME": str(library)}
    sys.argv = ["conda", "install", "--prefix", str(prefix), "--offline", "--yes", "--quiet", "--file", str(prefix / "pkgs" / "env.txt")]
    from conda_standin.cli import work

    code = work(sys.argv[1:])
    shutil.rmtree(library)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
