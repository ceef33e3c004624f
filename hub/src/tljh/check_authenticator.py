"""Tells the installer what the hub's environment knows of an authenticator: `python -m tljh.check_authenticator`.

Standard input is {"type": auth.type, "sections": {names of classes: {options: values}}}; standard output {"ok": bool, "error": why it can't be used,
"hint": what to do, "classes": {name: {"exists": bool, "options": [names], "refused": {option: why}}}} for the class of auth.type and for each section.
"""

import json
import sys
from typing import Any

from traitlets import HasTraits

from tljh import configure
from tljh.settings import Auth, ConfigError


def answer(name: str, sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
    try:
        cls = configure.authenticator_class(name)
    except ConfigError as error:
        return no(error)
    known = configure.option_classes(cls)
    classes = {section: describe(known.get(section), sections.get(section, {})) for section in {*sections, cls.__name__}}
    if not any(found["refused"] for found in classes.values()):
        try:
            configure.usable_authenticator(Auth(name, sections))
        except ConfigError as error:
            return no(error)
    return {"ok": True, "error": "", "hint": "", "classes": classes}


def no(error: ConfigError) -> dict[str, Any]:
    hint = error.hint if isinstance(error, configure.ModuleMissing) else ""
    words = str(error).removesuffix(f": {hint}") if hint else str(error)
    return {"ok": False, "error": words.removeprefix("auth.type: "), "hint": hint, "classes": {}}


def describe(cls: type[HasTraits] | None, options: dict[str, Any]) -> dict[str, Any]:
    if cls is None:
        return {"exists": False, "options": [], "refused": {}}
    return {"exists": True, "options": sorted(cls.class_traits(config=True)), "refused": configure.refused(cls, options)}


if __name__ == "__main__":
    question = json.load(sys.stdin)
    json.dump(answer(question["type"], question["sections"]), sys.stdout)
