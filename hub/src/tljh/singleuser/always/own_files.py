"""Files of a single-user server: what is moved into a shared folder, and signatures of notebooks that cannot be kept."""

import contextlib
import os
import shutil
import sqlite3
import stat

try:
    from jupyter_server.services.contents import filemanager
    from nbformat.sign import SQLiteSignatureStore
except ImportError:
    filemanager = SQLiteSignatureStore = None

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


def give_rights_of_folder(path):
    """Give what was moved into a folder the rights that the folder gives to what is made in it. A move alone keeps those of the place where it was made, so
    that a file from a home stays closed to those with whom the folder is shared."""
    try:
        rights = os.getxattr(os.path.dirname(os.path.abspath(path)), DEFAULT)
    except OSError:
        return  # a folder like any other
    # By what was opened: whoever may write to the folder can put a link into the place of what was moved, to files of the user's that nobody else is to have.
    with contextlib.suppress(OSError):
        at = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            name = os.path.basename(os.path.abspath(path))
            _give(name, at, rights)
            for _, folders, files, above in os.fwalk(name, dir_fd=at):
                for each in [*folders, *files]:
                    _give(each, above, rights)
        finally:
            os.close(at)


def _give(name, above, rights):
    with contextlib.suppress(OSError):  # the move itself is done
        opened = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
        try:
            _give_opened(f"/proc/self/fd/{opened}", os.fstat(opened), rights)
        finally:
            os.close(opened)


def _give_opened(path, found, rights):
    if found.st_uid != os.getuid() or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return
    os.setxattr(path, ACCESS, rights)
    if stat.S_ISDIR(found.st_mode):
        os.setxattr(path, DEFAULT, rights)
    else:  # a file is a program only if it was one
        os.chmod(path, os.stat(path).st_mode & (0o777 if found.st_mode & stat.S_IXUSR else 0o666))


class Moving:
    """The module shutil as Jupyter's files have it."""

    @staticmethod
    def move(source, target, *arguments, **options):
        moved = shutil.move(source, target, *arguments, **options)
        give_rights_of_folder(moved)
        return moved

    def __getattr__(self, name):
        return getattr(shutil, name)


if hasattr(filemanager, "shutil"):
    filemanager.shutil = Moving()


def unsigned(method, otherwise):
    """Let a notebook open without its signature where the file of signatures is locked, as on a file server without locks, or cannot be written."""

    def tolerant(self, *arguments, **options):
        try:
            return method(self, *arguments, **options)
        except sqlite3.Error as error:
            if self.db_file == ":memory:":
                raise
            self.log.warning("Signatures of notebooks in %s cannot be used (%s); until the server is restarted they are kept in memory", self.db_file, error)
            self.db_file = ":memory:"
            self.db = self._connect_db(self.db_file)
            return otherwise

    return tolerant


if SQLiteSignatureStore is not None:
    for _name, _otherwise in (("store_signature", None), ("check_signature", False), ("remove_signature", None)):
        if hasattr(SQLiteSignatureStore, _name):
            setattr(SQLiteSignatureStore, _name, unsigned(getattr(SQLiteSignatureStore, _name), _otherwise))
