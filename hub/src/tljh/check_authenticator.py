"""Tells the installer what the hub's environment knows of an authenticator: `python -m tljh.check_authenticator`.

Standard input is {"type": auth.type, "sections": [names of classes]}; standard output {"ok": bool, "error": why it can't be used, "classes": {name: {"exists":
bool, "options": [names]}}} for the class of auth.type and for each section.
"""

import json
import sys
from typing import Any

from traitlets import HasTraits

from tljh.configure import authenticator_class
from tljh.settings import ConfigError


def answer(name: str, sections: list[str]) -> dict[str, Any]:
    try:
        cls = authenticator_class(name)
    except ConfigError as error:
        return {"ok": False, "error": str(error).removeprefix("auth.type: "), "classes": {}}
    known = {base.__name__: base for base in cls.__mro__ if issubclass(base, HasTraits)}
    classes = {section: describe(known.get(section)) for section in {*sections, cls.__name__}}
    return {"ok": True, "error": "", "classes": classes}


def describe(cls: type[HasTraits] | None) -> dict[str, Any]:
    return {"exists": cls is not None, "options": sorted(cls.class_traits(config=True)) if cls else []}


if __name__ == "__main__":
    question = json.load(sys.stdin)
    json.dump(answer(question["type"], question["sections"]), sys.stdout)
