"""Declarations: YAML files that a pydantic model validates (contracts, sources, guidelines, recipes); errors name file and field."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from whetstone.platform.errors import WhetstoneError


class Declared(BaseModel):
    """A declaration that refuses keys it doesn't know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Model = TypeVar("Model", bound=Declared)


def read_declared(model: type[Model], path: Path) -> Model:
    """The declaration in a file; WhetstoneError: not YAML, or a field that is missing, unknown or out of range (both are named)."""
    try:
        return model.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise WhetstoneError(f"{path}: not a readable YAML file: {error}") from error
    except ValidationError as error:
        problems = [f"{_place(item['loc'])}{item['msg'].removeprefix('Value error, ')}" for item in error.errors()]
        raise WhetstoneError(f"{path}: {'; '.join(problems)}") from error


def load_named(model: type[Model], what: str, name: str, folder: Path) -> Model:
    """The declaration called `name` in `folder/name.yml`; `what` it is, for messages.

    WhetstoneError: an unknown name (the message lists the known ones), a file of another name, or as `read_declared`.
    """
    known = sorted(path.stem for path in folder.glob("*.yml"))
    if name not in known:
        raise WhetstoneError(f"{what} '{name}' is not in {folder}; known: {', '.join(known) or 'none'}")
    declared = read_declared(model, folder / f"{name}.yml")
    if (said := declared.model_dump()["name"]) != name:
        raise WhetstoneError(f"{folder / f'{name}.yml'}: name: the file is called '{name}' and says '{said}'; make them equal")
    return declared


def _place(location: tuple[int | str, ...]) -> str:
    """`('stages', 0, 'loss')` -> `stages[0].loss: `."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
    return f"{place}: " if place else ""
