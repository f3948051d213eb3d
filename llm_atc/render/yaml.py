"""Values to YAML: keys in the order given, scripts as blocks, and the same text every time."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """A dumper that writes text of several lines as a block, and never an anchor."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# YAML 1.1 ends a line at these too, so only an escape keeps them as they are.
_OTHER_LINE_ENDS = frozenset("\x85\u2028\u2029")


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    if not _OTHER_LINE_ENDS.isdisjoint(text):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def dump(value: Any) -> str:
    """The value as a YAML document; `yaml.safe_load(dump(value)) == value`."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
