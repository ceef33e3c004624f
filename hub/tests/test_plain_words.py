"""What people read of the hub is plain English: the same words are refused as in the manual."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "hub/src/tljh").rglob("*.py"))
SCOPES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def refused():
    rows = (ROOT / "internal/dist/docs/dialect.tsv").read_text().splitlines()
    for words, instead in (row.split("\t") for row in rows):
        pattern = re.compile(r"(?i)(?:^|[^\w-])(?:" + words.replace(" ", r"\s+") + r")(?:[^\w-]|$)")
        yield pattern, instead


def messages(source):
    """Strings of more than one word, without the remarks that stand at the top of modules, classes and functions."""
    tree = ast.parse(source.read_text())
    remarks = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, SCOPES) and node.body and isinstance(node.body[0], ast.Expr)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and " " in text and id(node) not in remarks:
            yield node.lineno, text


def test_plain_words():
    patterns = list(refused())
    found = [
        f"{source.name}:{line}: {text!r} (write: {instead})"
        for source in SOURCES
        for line, text in messages(source)
        for pattern, instead in patterns
        if pattern.search(text)
    ]
    assert not found, "\n".join(found)
    assert sum(1 for source in SOURCES for _ in messages(source)) > 300
