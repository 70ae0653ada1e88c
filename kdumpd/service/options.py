"""The options dictionary that ends most methods: which keys a method knows, and of what kind their values are."""

from __future__ import annotations

from collections.abc import Mapping

from kdumpd.service.bus import BusError, ErrorName, Value

NO_USER_INTERACTION = "auth.no_user_interaction"

_KINDS = {bool: "b", str: "s", int: "a number"}


def require_known(options: Mapping[str, Value], **kinds: type[bool | str | int]) -> None:
    """Refuse with InvalidArgs what is not among `kinds` (`rollback_on_failure` is `rollback-on-failure`), or of another kind.

    The option every method takes, `auth.no_user_interaction`, is always among them.
    """
    known: dict[str, type[bool | str | int]] = {name.replace("_", "-"): kind for name, kind in kinds.items()}
    known[NO_USER_INTERACTION] = bool
    for name, value in options.items():
        if name not in known:
            offered = ", ".join(sorted(known))
            raise BusError(ErrorName.INVALID_ARGS, f"There is no option {name!r} here; there are: {offered}.")
        if type(value) is not known[name]:
            raise BusError(ErrorName.INVALID_ARGS, f"The option {name!r} is of type {_KINDS[known[name]]}.")


def forbids_interaction(arguments: tuple[Value, ...]) -> bool:
    """Whether the options, the last of the arguments, say that the user is not to be asked for a password."""
    options = arguments[-1] if arguments else None
    if not isinstance(options, Mapping):
        return False
    value = options.get(NO_USER_INTERACTION, False)
    if not isinstance(value, bool):
        raise BusError(ErrorName.INVALID_ARGS, f"The option {NO_USER_INTERACTION!r} is of type b.")
    return value
