"""Words of a single-user server where Jupyter has none: a kernel that ended because memory ran out, an export that lacks a program, and an error that
nobody expected."""

import contextlib
import errno
import json
import os
import traceback

from tornado import web

try:
    from jupyter_server.nbconvert import handlers as converting
except ImportError:
    converting = None
try:
    from jupyter_client.restarter import KernelRestarter
    from jupyter_server.base.handlers import APIHandler
    from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1, serialize_msg_to_ws_v1
    from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection as Connection
except ImportError:
    KernelRestarter = APIHandler = Connection = None

GROUPS = "/sys/fs/cgroup"


def own_groups(text):
    """The folders and files that tell about the memory of this server's control group, from /proc/self/cgroup: events, limit. Of either version."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield GROUPS + path.rstrip("/"), "memory.events", "memory.max"
        elif "memory" in controllers.split(","):
            yield GROUPS + "/memory" + path.rstrip("/"), "memory.oom_control", "memory.limit_in_bytes"


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def memory():
    """How many processes of this server the system has ended because memory ran out, and the server's limit in bytes: (0, None) where that is not known."""
    try:
        for folder, events, limit in own_groups(read("/proc/self/cgroup")):
            if not os.path.exists(os.path.join(folder, events)):
                continue
            fields = dict(line.split() for line in read(os.path.join(folder, events)).splitlines())
            most = read(os.path.join(folder, limit)).strip()
            return int(fields.get("oom_kill", 0)), int(most) if most.isdigit() and int(most) < 1 << 60 else None
    except (OSError, ValueError):
        pass
    return 0, None


def of_memory(limit):
    """What is told about a kernel that ended because memory ran out."""
    which = f"its limit is {limit / (1 << 30):.1f} GiB" if limit else "the machine has none left"
    return (
        f"The kernel was ended because your server ran out of memory ({which}). Variables are lost; files are kept. "
        "Load less data at once, shut down kernels that you do not use, or ask an admin of this hub for a higher limit."
    )


class Watch:
    """Tells whether a kernel that has ended did so because memory ran out."""

    def __init__(self):
        self.seen = memory()[0]

    def cause(self, exit_code):
        count, limit = memory()
        before, self.seen = self.seen, count
        killed = exit_code is None or exit_code in (-9, 137)
        return of_memory(limit) if count > before and killed else ""


# By the number of an error of the system.
WORDS = {
    errno.ENOSPC: "The disk is full. Delete files that you do not need, or ask an admin of this hub for room.",
    errno.EDQUOT: "Your files take all the room that you may have. Delete some, or ask an admin of this hub for more.",
    errno.EACCES: "You have no right to do this. Check whose file or folder it is.",
    errno.EPERM: "You have no right to do this. Check whose file or folder it is.",
    errno.EROFS: "This folder is read-only. Save the file in your home.",
    errno.EMFILE: "Too many files are open. Shut down kernels and terminals that you do not use.",
    errno.EAGAIN: "There are too many processes. Shut down kernels and terminals that you do not use.",
    errno.ENOMEM: "There is no memory left. Shut down kernels that you do not use.",
}

# By the class of an error of Jupyter's.
OF_JUPYTER = {"NoSuchKernel": "Choose another kernel in the menu Kernel, Change Kernel, or ask who gave you the notebook what it needs."}

OTHERWISE = "Try again. If it happens again, restart your server, or show this to an admin: the server's journal has the details."


def explain(error):
    """What is answered where an error has no words of Jupyter's."""
    if known := OF_JUPYTER.get(type(error).__name__):
        return f"{' '.join(str(error).split())[:300]}. {known}"
    known = WORDS.get(error.errno) if isinstance(error, OSError) else None
    what = " ".join("".join(traceback.format_exception_only(type(error), error)).split())[:300]
    return f"{what}. {known or OTHERWISE}"


class Told(web.HTTPError):
    """An answer with words. In newer versions of Tornado log_message can only be read, and comes with its percent signs doubled."""

    log_message = None


if hasattr(APIHandler, "write_error"):
    _write_error = APIHandler.write_error

    def _write_words(self, status_code, **options):
        error = options.get("exc_info", (None, None, None))[1]
        if error is not None and not isinstance(error, web.HTTPError):
            told = Told(status_code)
            told.log_message = explain(error)
            options["exc_info"] = (Told, told, None)
        return _write_error(self, status_code, **options)

    APIHandler.write_error = _write_words


# What an export of a notebook needs, by a word of nbconvert's message: a program of the system, or a package of the environment.
SYSTEM = "An admin of this hub can install it: sudo apt install pandoc texlive-xetex texlive-fonts-recommended texlive-plain-generic"
NEEDS = {"pandoc": SYSTEM, "xelatex": SYSTEM, "inkscape": "An admin of this hub can install it: sudo apt install inkscape"}
EXPORT = "Or export as HTML, and print that page to a file from your browser."


def explain_export(words):
    """What is told about an export that failed; the same words if nothing is known."""
    if "nbconvert failed" not in words and "Exporter" not in words:
        return words
    needs = next((told for word, told in NEEDS.items() if word in words.lower()), "")
    return " ".join(filter(None, [words.rstrip(". ") + ".", needs, EXPORT]))


if hasattr(converting, "web"):

    class ExportFailed(web.HTTPError):
        def __init__(self, status_code, log_message=None, *arguments, **options):
            words = explain_export(log_message % arguments if arguments else log_message or "")
            super().__init__(status_code, "%s", words, **options)

    class Web:
        """The module tornado.web as the exports have it."""

        HTTPError = ExportFailed

        def __getattr__(self, name):
            return getattr(web, name)

    converting.web = Web()


# A page says that a kernel "appears to have died", and nothing of why. The output of its cell says it, which comes before the page hears of the end.
if hasattr(KernelRestarter, "_fire_callbacks") and hasattr(Connection, "_send_status_message"):
    watch = Watch()
    _fire, _status = KernelRestarter._fire_callbacks, Connection._send_status_message
    _incoming, _outgoing = Connection.handle_incoming_message, Connection.handle_outgoing_message
    V1 = "v1.kernel.websocket.jupyter.org"
    MOST_ASKED = 1000

    def _fire_with_cause(self, event):
        with contextlib.suppress(Exception):  # a kernel is restarted whatever can be said
            kernel = self.kernel_manager
            process = getattr(kernel.provisioner, "process", None)
            kernel.tljh_ended = watch.cause(getattr(process, "returncode", None))
            if kernel.tljh_ended:
                self.log.warning("Kernel %s: %s", kernel.kernel_id, kernel.tljh_ended)
        try:
            return _fire(self, event)
        finally:
            self.kernel_manager.tljh_asked = {}

    def asked(kernel):
        """The headers of the cells that a kernel was asked to run and that have not ended, by ID. The first is the one that runs: a kernel that is killed has
        often not said any more that it began."""
        return kernel.__dict__.setdefault("tljh_asked", {})

    def ended(cells, last):
        """Forget a cell, and those before it: cells are answered in turn, but for those that a restart forgot."""
        if last in cells:
            for each in list(cells)[: list(cells).index(last) + 1]:
                del cells[each]

    def _incoming_seen(self, incoming_msg):
        with contextlib.suppress(Exception):
            is_v1 = self.subprotocol == V1
            header = self.session.unpack(deserialize_msg_from_ws_v1(incoming_msg)[1][0]) if is_v1 else json.loads(incoming_msg)["header"]
            if header["msg_type"] == "execute_request" and len(asked(self.kernel_manager)) < MOST_ASKED:
                asked(self.kernel_manager)[header["msg_id"]] = header
        return _incoming(self, incoming_msg)

    def _outgoing_seen(self, stream, outgoing_msg):
        with contextlib.suppress(Exception):
            header, parent = self.session.feed_identities(outgoing_msg)[1][1:3]
            if b"execute_reply" in header:
                ended(asked(self.kernel_manager), self.session.unpack(parent)["msg_id"])
        return _outgoing(self, stream, outgoing_msg)

    def tell(self, words):
        """Send a page a text as output of the cell that ran."""
        running = next(iter(asked(self.kernel_manager).values()), {})
        msg = self.session.msg("stream", {"name": "stderr", "text": words + "\n"}, parent=running)
        if self.subprotocol == V1:
            self.write_message(serialize_msg_to_ws_v1(msg, "iopub", self.session.pack), binary=True)
        else:
            self.write_message(json.dumps({**msg, "channel": "iopub"}, default=str))

    def _status_with_cause(self, status):
        with contextlib.suppress(Exception):
            if status in ("restarting", "dead") and getattr(self.kernel_manager, "tljh_ended", ""):
                tell(self, self.kernel_manager.tljh_ended)
        return _status(self, status)

    KernelRestarter._fire_callbacks = _fire_with_cause
    Connection.handle_incoming_message = _incoming_seen
    Connection.handle_outgoing_message = _outgoing_seen
    Connection._send_status_message = _status_with_cause
