"""Careful access to a parsed config.json: every value is checked, and what is missing is said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


class UnclearConfig(Exception):
    """The configuration does not say something that memory depends on. The message says what."""


@dataclass(frozen=True, slots=True)
class Fields:
    """A parsed JSON object; `defaults` are what the model's own code assumes where nothing is said."""

    values: Mapping[str, object]
    defaults: Mapping[str, object]

    def get(self, name: str) -> object:
        """The value as it stands, or the default; null counts as not said."""
        found = self.values.get(name)
        return found if found is not None else self.defaults.get(name)

    def says(self, name: str) -> bool:
        """Whether the configuration itself has the name, be it null."""
        return name in self.values

    def number(self, *names: str, default: int | None = None) -> int:
        """The first of these that is a whole number from 0 up. UnclearConfig when none is, and no default."""
        found = self.perhaps(*names)
        if found is not None:
            return found
        if default is None:
            raise UnclearConfig(f"config.json does not say {' or '.join(names)}")
        return default

    def perhaps(self, *names: str) -> int | None:
        """The same, None when nothing is said. UnclearConfig for a value that is no such number."""
        for name in names:
            found = self.get(name)
            if found is None:
                continue
            if (
                isinstance(found, bool)
                or not isinstance(found, int | float)
                or not 0 <= found < math.inf
                or found != int(found)
            ):
                raise UnclearConfig(f"config.json has {name} = {found!r}")
            return int(found)
        return None

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes or no."""
        found = self.get(name)
        return default if found is None else bool(found)

    def word(self, name: str) -> str | None:
        """A string; None for anything else."""
        found = self.get(name)
        return found if isinstance(found, str) else None

    def words(self, name: str) -> tuple[str, ...] | None:
        """A list of strings; None when it is not said. UnclearConfig for another list."""
        found = self.get(name)
        if found is None:
            return None
        if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
            raise UnclearConfig(f"config.json has {name} that are no list of words")
        return tuple(found)

    def numbers(self, name: str) -> tuple[int, ...] | None:
        """A list of whole numbers; None when it is not said."""
        found = self.get(name)
        if found is None:
            return None
        if not isinstance(found, list | tuple) or not all(isinstance(one, int) for one in found):
            raise UnclearConfig(f"config.json has {name} that are no list of numbers")
        return tuple(found)

    def below(self, *names: str) -> Fields | None:
        """The first of these that is an object, with the same defaults."""
        for name in names:
            found = self.values.get(name)
            if isinstance(found, Mapping):
                return Fields(found, self.defaults)
        return None

    def with_defaults(self, defaults: Mapping[str, object]) -> Fields:
        """The same values over other defaults."""
        return Fields(self.values, defaults)
