"""What code in jupyterhub_config.d writes to, and whether it calls sudo, as far as its text tells. Nothing of it is run.

    python older_hooks.py FOLDER

prints, as JSON, a list of findings: file, line, kind (write, sudo or broken) and path: the folder or file that is written to. Scripts that such code
starts are looked into, too.

This file is run by whatever Python is there, the older hub's own among them: it needs 3.6 and nothing but the standard library.
"""

import ast
import json
import os
import re
import shlex
import sys

# Functions by what they write to: the numbers of their arguments.
WRITES = {
    "os": {
        "makedirs": [0],
        "mkdir": [0],
        "chown": [0],
        "lchown": [0],
        "chmod": [0],
        "symlink": [1],
        "link": [1],
        "rename": [0, 1],
        "replace": [0, 1],
        "remove": [0],
        "unlink": [0],
        "rmdir": [0],
        "removedirs": [0],
        "mkfifo": [0],
        "mknod": [0],
        "truncate": [0],
    },
    "shutil": {
        "copy": [1],
        "copy2": [1],
        "copyfile": [1],
        "copytree": [1],
        "copymode": [1],
        "copystat": [1],
        "move": [0, 1],
        "rmtree": [0],
        "chown": [0],
        "unpack_archive": [1],
    },
    "logging": {"FileHandler": [0]},
    "handlers": {"RotatingFileHandler": [0], "TimedRotatingFileHandler": [0], "WatchedFileHandler": [0]},
}
METHODS = {"mkdir", "write_text", "write_bytes", "touch", "chmod", "symlink_to", "hardlink_to", "unlink", "rename", "rmdir"}
STARTS = {
    "subprocess": {"run", "call", "check_call", "check_output", "Popen", "getoutput", "getstatusoutput"},
    "os": {"system", "popen"},
    "asyncio": {"create_subprocess_exec", "create_subprocess_shell"},
}
SHELLS = {"sh", "bash", "dash", "zsh"}
# Programs that write to what they are given; of some, the last word only.
TOOLS = {"mkdir", "rm", "rmdir", "chown", "chmod", "chgrp", "touch", "tee", "setfacl", "truncate", "mktemp", "chattr"}
COPIERS = {"cp", "mv", "ln", "install", "rsync"}
LONGEST = 1 << 20
UNKNOWN = "\0"


class Text:
    """A text as far as it is known: what comes after the known part is not, unless it is complete."""

    def __init__(self, known, complete=True):
        self.known, self.complete = known, complete

    def __add__(self, other):
        return Text(self.known + other.known, other.complete) if self.complete else self

    def place(self):
        """The path that it names, or the folder that this path lies in; None when it names none that is absolute."""
        path = self.known
        if not path.startswith("/"):
            return None
        if not self.complete:
            path = path[: path.rindex("/")]
        path = os.path.normpath(path)
        return path if path != "/" else None


NOTHING = Text("", False)


class Look(ast.NodeVisitor):
    def __init__(self, file, tree, found, scripts):
        self.file, self.found, self.scripts = file, found, scripts
        self.values = {}
        self.modules = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                self.values.setdefault(node.targets[0].id, node.value)
            elif isinstance(node, ast.Import):
                for name in node.names:
                    self.modules[name.asname or name.name] = name.name
            elif isinstance(node, ast.ImportFrom) and node.module:
                for name in node.names:
                    self.modules[name.asname or name.name] = node.module + "." + name.name

    def tell(self, node, kind, path):
        self.found.append({"file": self.file, "line": node.lineno, "kind": kind, "path": path})

    def writes(self, node, text):
        place = text.place()
        if place:
            self.tell(node, "write", place)

    def name(self, node):
        """The dotted name of a function, with what was imported under another name."""
        parts = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self.modules.get(node.id, node.id), *parts])

    def text(self, node, depth=0):
        """What an expression is, as far as it is written down."""
        if depth > 10 or node is None:
            return NOTHING
        literal = getattr(node, "value", None) if type(node).__name__ == "Constant" else getattr(node, "s", None)
        if isinstance(literal, str):
            return Text(literal)
        if isinstance(node, ast.Name):
            return self.text(self.values.get(node.id), depth + 1)
        if isinstance(node, ast.JoinedStr):
            whole = Text("")
            for part in node.values:
                whole = whole + (self.text(part.value, depth + 1) if isinstance(part, ast.FormattedValue) else self.text(part, depth + 1))
            return whole
        if isinstance(node, ast.BinOp):
            return self.operation(node, depth)
        if isinstance(node, ast.Call):
            return self.result(node, depth)
        return NOTHING

    def operation(self, node, depth):
        left = self.text(node.left, depth + 1)
        if isinstance(node.op, ast.Add):
            return left + self.text(node.right, depth + 1)
        if isinstance(node.op, ast.Mod):
            return Text(left.known.split("%", 1)[0], "%" not in left.known)
        if isinstance(node.op, ast.Div):
            return left + Text("/") + self.text(node.right, depth + 1)
        return NOTHING

    def result(self, node, depth):
        function = self.name(node.func)
        last = function.rpartition(".")[2]
        if function in ("os.path.join", "posixpath.join") or last in ("Path", "PosixPath", "PurePath", "PurePosixPath"):
            whole = Text("")
            for number, argument in enumerate(node.args):
                whole = whole + (Text("/") if number else Text("")) + self.text(argument, depth + 1)
            return whole
        if function in ("str", "os.fspath", "os.path.abspath", "os.path.realpath", "os.path.normpath") and node.args:
            return self.text(node.args[0], depth + 1)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            form = self.text(node.func.value, depth + 1)
            return Text(form.known.split("{", 1)[0], "{" not in form.known)
        return NOTHING

    def visit_Call(self, node):
        self.generic_visit(node)
        module, _, last = self.name(node.func).rpartition(".")
        base = module.rpartition(".")[2]
        for number in WRITES.get(base, {}).get(last, []):
            if number < len(node.args):
                self.writes(node, self.text(node.args[number]))
        if last == "open" and module in ("", "io", "codecs"):
            if self.mode(node, 1):
                self.writes(node, self.text(node.args[0]) if node.args else NOTHING)
        elif self.is_method(node, base):
            self.writes(node, self.text(node.func.value))
        if last in STARTS.get(base, ()):
            self.starts(node, last == "create_subprocess_exec")

    def is_method(self, node, base):
        """Whether it is called on a path and writes to it."""
        if not isinstance(node.func, ast.Attribute) or base in WRITES:
            return False
        return node.func.attr in METHODS or (node.func.attr == "open" and self.mode(node, 0))

    def mode(self, node, number):
        """Whether a file is opened to be written to."""
        given = [keyword.value for keyword in node.keywords if keyword.arg == "mode"] + node.args[number : number + 1]
        return bool(given) and any(letter in self.text(given[0]).known for letter in "wax+")

    def starts(self, node, apart):
        if not node.args:
            return
        first = node.args[0]
        if isinstance(first, ast.Name):
            first = self.values.get(first.id, first)
        parts = node.args if apart else first.elts if isinstance(first, (ast.List, ast.Tuple)) else None
        if parts is not None:
            self.command(node, [self.text(part) for part in parts])
            return
        text = self.text(first)
        self.shell(node, text.known if text.complete else text.known + UNKNOWN)

    def command(self, node, words):
        """A program with its arguments."""
        if not words:
            return
        program = os.path.basename(words[0].known)
        if program == "sudo":
            self.tell(node, "sudo", "")
            words = words[1:]
            while words and words[0].known.startswith("-"):
                words = words[2 if words[0].known in ("-u", "-g") else 1 :]
            self.command(node, words)
        elif program in ("env", "nice", "timeout", "ionice") and len(words) > 1:
            self.command(node, words[2 if program == "timeout" else 1 :])
        elif program in TOOLS:
            for word in words[1:]:
                self.writes(node, word)
        elif program in COPIERS:
            self.writes(node, words[-1])
        elif program in SHELLS and len(words) > 2 and words[1].known.startswith("-") and "c" in words[1].known:
            self.shell(node, words[2].known + ("" if words[2].complete else UNKNOWN))
        else:
            script = words[1] if (program in SHELLS or program.startswith("python")) and len(words) > 1 else words[0]
            if script.complete and script.known.startswith("/"):
                self.script(node, script.known)

    def shell(self, node, text):
        """Lines for a shell. A variable in them is where the known part of a word ends."""
        for line in re.split(r"\n|&&|\|\||;|\|", text):
            try:
                words = shlex.split(line, comments=True)
            except ValueError:
                words = line.split()
            while words and re.match(r"[A-Za-z_][A-Za-z0-9_]*=|(then|do|else|if|!|\()$", words[0]):
                words = words[1:]
            for number, word in enumerate(words):
                target = re.match(r"(?:[0-9&]?>>?\|?)(.*)$", word)
                if target:
                    self.writes(node, known_part(target.group(1) or "".join(words[number + 1 : number + 2])))
            self.command(node, [known_part(word) for word in words if not re.match(r"[0-9&]?[<>]", word)])

    def script(self, node, path):
        """A script that is started: what it does stands for where it is started."""
        try:
            with open(path, "rb") as file:
                data = file.read(LONGEST)
        except OSError:
            return
        if not data.startswith(b"#!") or path in self.scripts:
            return
        scripts = self.scripts | {path}
        begin, _, rest = data.decode("utf-8", "replace").partition("\n")
        if "python" in begin:
            inner = []
            look_into(path, rest, inner, scripts)
            for each in inner:
                if each["kind"] != "broken":
                    self.tell(node, each["kind"], each["path"])
        elif any(shell in begin for shell in SHELLS):
            before, self.scripts = self.scripts, scripts
            self.shell(node, rest.replace("\\\n", " "))
            self.scripts = before


def known_part(word):
    """A word of a shell up to its first variable, command or pattern."""
    known = re.split(r"[$`*?\0]", word, maxsplit=1)[0]
    return Text(known, known == word)


def look_into(file, text, found, scripts=frozenset()):
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        found.append({"file": file, "line": getattr(error, "lineno", 0) or 0, "kind": "broken", "path": ""})
        return
    Look(file, tree, found, scripts).visit(tree)


def look(folder):
    found = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        path = os.path.join(folder, name)
        if name.endswith(".py") and os.path.isfile(path):
            with open(path, "rb") as file:
                look_into(name, file.read(LONGEST).decode("utf-8", "replace"), found)
    unique = []
    for each in found:
        if each not in unique:
            unique.append(each)
    return unique


if __name__ == "__main__":
    json.dump(look(sys.argv[1]), sys.stdout)
