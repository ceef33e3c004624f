"""Whether a value fits a trait, in words without the value: it may be secret."""

import copy
from typing import Any

from traitlets import Bool, Dict, Enum, Float, HasTraits, Integer, List, Set, TraitError, Tuple, Unicode

# What traits take, the narrower before the wider.
WORDS: list[tuple[Any, str, tuple[type, ...]]] = [
    (Bool, "true or false", (bool,)),
    (Integer, "a whole number", (int,)),
    (Float, "a number", (int, float)),
    (Unicode, "a text", (str,)),
    ((List, Set, Tuple), "a list", (list,)),
    (Dict, "keys with values", (dict,)),
]


def misfit(trait: Any, value: Any, taker: str = "the authenticator") -> str | None:
    """Why a trait does not take a value, without the value; None if it does. Sets and tuples are lists in YAML."""
    trial = type("Trial", (HasTraits,), {"option": copy.copy(trait)})
    for candidate in (value, set(value), tuple(value)) if isinstance(value, list) and hashable(value) else (value,):
        try:
            trial().option = candidate
            return None
        except TraitError, TypeError, ValueError:
            pass
        except Exception:
            return None  # a check that needs the whole authenticator: leave it to that
    given = NOUNS.get(type(value), "this")
    if isinstance(trait, Enum):
        return f"must be one of {', '.join(str(choice) for choice in trait.values)}"
    for kinds, words, right in WORDS:
        if isinstance(trait, kinds):
            return f"{taker} does not take this value" if type(value) in right else f"must be {words}, not {given}"
    return f"must be {trait.info()}"


def hashable(values: list[Any]) -> bool:
    return not any(isinstance(value, list | dict) for value in values)


NOUNS = {bool: "true or false", int: "a number", float: "a number with a fraction", str: "a text", list: "a list", dict: "keys with values"}
