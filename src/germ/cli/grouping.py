"""Options in groups: a command takes a dataclass, its fields become options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_type_hints


def grouped(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let Typer see the fields of every parameter that is a dataclass.

    The fields are annotated as Typer's parameters are. So commands share options without listing
    them, and a function of thirty parameters is nowhere.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type] = {}
    flat: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if is_dataclass(kind) and isinstance(kind, type):
            groups[name] = kind
            flat += [_option(kind, field) for field in fields(kind)]
        else:
            keyword = inspect.Parameter.KEYWORD_ONLY
            flat.append(parameter.replace(kind=keyword, annotation=hints[name]))

    @functools.wraps(command)
    def wrapper(**values: Any) -> Any:
        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        return command(**values)

    del wrapper.__wrapped__  # Typer would look through it, at the groups.
    wrapper.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return wrapper


def _option(kind: type, field: Field[Any]) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=get_type_hints(kind, include_extras=True)[field.name],
    )
