"""What the user said, as one value; and how the text of flags becomes it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from llm_atc.access import Secret, looks_secret
from llm_atc.certificates import Certificate
from llm_atc.errors import UsageError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.backend_words import Backend
from llm_atc.plan.delivery import Way
from llm_atc.plan.ending import Action
from llm_atc.plan.engine import EngineName
from llm_atc.plan.generation import Defaults
from llm_atc.plan.inference import Inference
from llm_atc.plan.places import Place

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# SkyPilot's rule for cluster names: sky.utils.common_utils.check_cluster_name_is_valid.
_CLUSTER = re.compile(r"[a-zA-Z]([-_.a-zA-Z0-9]*[a-zA-Z0-9])?")
DEFAULT_PORT = 8000
# What an ordinary user may listen on.
LOWEST_PORT, HIGHEST_PORT = 1024, 65535
# In the place of an accelerator: the cheapest on which the model fits.
AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One `serve` as it was asked for; None means that the user left it to llm-atc, and so does no
    accelerator.

    `concurrency` is how many requests are to fit at once, `max_price` US dollars an hour. `engine_args` are
    the engine's own options as words; `backend` is what they are still to be made of. `executables` run here
    instead of the pinned engines; `log_file` is a path.
    """

    model: str
    source: str | None = None
    revision: str | None = None
    name: str | None = None
    place: Place = field(default_factory=Place)
    accelerators: tuple[Accelerator, ...] = ()
    max_price: float | None = None
    concurrency: int = 1
    engine: EngineName | None = None
    engine_args: tuple[str, ...] = ()
    backend: Backend = field(default_factory=Backend)
    inference: Inference = field(default_factory=Inference)
    generation: Defaults = ()
    executables: tuple[tuple[EngineName, str], ...] = ()
    served_model_name: str | None = None
    host: str | None = None
    log_file: str | None = None
    envs: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, Secret], ...] = ()
    keys: tuple[Secret, ...] = ()
    auth: bool = True
    tls: bool = False
    tls_files: tuple[str, str] | None = None
    certificate: Certificate | None = None
    private: bool = False
    spot: bool = False
    disk_size: int | None = None
    image: str | None = None
    num_nodes: int = 1
    port: int | None = None
    idle_minutes: int | None = None
    idle_action: Action | None = None
    ttl: int | None = None
    budget: float | None = None
    copy_minutes: int | None = None
    weights: Way | None = None
    cache: str | None = None
    setup: bool = True


def read_pairs(
    given: Iterable[str] | Mapping[str, str | None], environ: Mapping[str, str], *, flag: str
) -> dict[str, str]:
    """Read what `split_pairs` reads, or such a mapping; the value of a bare `KEY` comes from `environ`.

    Raises UsageError where `split_pairs` does, and for a name with no value anywhere.
    """
    pairs: dict[str, str] = {}
    for name, said in split_pairs(given, flag=flag):
        value = environ.get(name) if said is None else said
        if value is None:
            raise UsageError(
                f"{flag} {name}: no value was given, and your environment has no {name}.",
                hint=f"export {name}=…   or   {flag} {name}=…",
            )
        if "\0" in value or "\n" in value:
            raise UsageError(f"{flag} {name}: a value of one line is needed.")
        pairs[name] = value
    return pairs


def split_pairs(
    given: Iterable[str] | Mapping[str, str | None], *, flag: str
) -> Iterator[tuple[str, str | None]]:
    """Each `KEY=VAL` and `KEY` (with None) in these texts, several to a text; or such a mapping's items.

    A text that holds one pair is taken whole, so `KEY=a b` is one value; a text is split as a shell would
    split it only where every part is a pair of its own, so `A=1 B=2` is two, and `'A=1 B=2'` is one.
    Raises UsageError for a malformed name and an unclosed quote.
    """
    for name, value in given.items() if isinstance(given, Mapping) else _parts(given, flag):
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{flag} {name!r} is not a variable's name: letters, digits and _ only.",
                hint=f"{flag} NAME=VALUE, or {flag} NAME to take the value from your environment",
            )
        yield name, value


def text_of_pair(name: str, value: str) -> str:
    """What `split_pairs` reads as this pair and no other."""
    text = f"{name}={value}"
    try:
        whole = _split(text, name) == [text]
    except UsageError:
        whole = False
    return text if whole else shlex.quote(text)


def _parts(texts: Iterable[str], flag: str) -> Iterator[tuple[str, str | None]]:
    for text in texts:
        for part in _split(text, flag):
            name, has_value, value = part.partition("=")
            yield name, value if has_value else None


def _split(text: str, flag: str) -> list[str]:
    if not text.strip():
        raise UsageError(f"{flag} is empty.", hint=f"{flag} NAME=VALUE")
    try:
        parts = shlex.split(text)
    except ValueError as error:
        if text.count("=") == 1:  # a value with a lone quote in it: it is one pair
            return [text.strip()]
        raise UsageError(f"{flag}: a quote in it is never closed.") from error
    if len(parts) == 1 and text.lstrip()[0] in "'\"":
        return parts
    if len(parts) < 2 or not all(_NAME.fullmatch(part.partition("=")[0]) and "=" in part for part in parts):
        return [text.strip()]
    return parts


def part_secrets(envs: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Secret]]:
    """Part plain variables from those whose names say secret (HF_TOKEN, DB_PASSWORD)."""
    plain = {name: value for name, value in envs.items() if not looks_secret(name)}
    return plain, {name: Secret(value) for name, value in envs.items() if looks_secret(name)}


def read_accelerators(texts: Iterable[str]) -> tuple[Accelerator, ...]:
    """Accelerators in order of preference: the flag repeated, or separated by commas; each once.

    `auto` stands alone, and for none: llm-atc then chooses. Raises UsageError.
    """
    parts = [part for text in texts for part in text.split(",")]
    if AUTO in [part.strip().lower() for part in parts]:
        if len(parts) > 1:
            raise UsageError(
                f"--accelerator {AUTO} stands alone: it chooses from all of them.",
                hint="--accelerator auto   or   --accelerator A100:1,L4:2",
            )
        return ()
    return tuple(dict.fromkeys(Accelerator.parse(part) for part in parts))


def check_name(name: str) -> str:
    """A deployment's name, which is its cluster's name too; UsageError where SkyPilot would refuse it."""
    if not _CLUSTER.fullmatch(name) or len(name) > 63:
        fixed = re.sub(r"[^-_.a-zA-Z0-9]", "-", name).strip("-_.")[:61].rstrip("-_.")
        fixed = fixed if fixed[:1].isalpha() else f"m-{fixed}".rstrip("-")
        raise UsageError(
            f"{name!r} cannot name a cluster: it begins with a letter, ends with a letter or digit, and has "
            "letters, digits, '-', '_' and '.' only, 63 at most.",
            hint=f"-c {fixed}",
        )
    return name


def on_cloud(name: str) -> str:
    """The form in which clouds know a cluster, but for what SkyPilot adds at its end."""
    return re.sub(r"[._]", "-", name).lower()


def name_for(model: str) -> str:
    """A deployment's name made from the model's: `Qwen/Qwen3-0.6B` becomes `qwen3-0.6b`."""
    last = model.rstrip("/").rsplit("/", 1)[-1].lower()
    cleaned = re.sub(r"[^-.a-z0-9]+", "-", last.removesuffix(".gguf")).strip("-.")[:40].rstrip("-.")
    return cleaned if cleaned[:1].isalpha() else f"m-{cleaned}".rstrip("-")


def check_port(port: int | None) -> int | None:
    """A port that an ordinary user may listen on, 1024 to 65535; UsageError for any other."""
    if port is not None and not LOWEST_PORT <= port <= HIGHEST_PORT:
        raise UsageError(
            f"--port {port} is not between {LOWEST_PORT} and {HIGHEST_PORT}.", hint="--port 8000"
        )
    return port
