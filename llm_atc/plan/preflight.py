"""What is true of a plan before anything is started: one finding for each check, with its own cure.

Everything here judges; what it judges was gathered in `llm_atc.outlook`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from llm_atc.errors import AtcError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.architecture import Architecture
from llm_atc.plan.engine import EngineName
from llm_atc.plan.fit import gib
from llm_atc.plan.known_models import KnownModels
from llm_atc.plan.model import Runner, Where
from llm_atc.plan.model_facts import Facts
from llm_atc.plan.options import Options
from llm_atc.plan.plan import Plan
from llm_atc.plan.weights import cannot_share

GIB = 1024**3
# SkyPilot's own default for a machine's disk, in GiB.
SKY_DISK = 256
# What a machine's image, an engine and its Python environment take beside the weights, in GiB: an estimate.
SOFTWARE = 40
LONG_CONTEXT = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"


class Grade(StrEnum):
    """What a check comes to. UNKNOWN is what could not be found out, and stops nothing; BROKEN is what
    `doctor` finds in something that is there."""

    OK = "ok"
    WARNING = "warning"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: a sentence, and what mends it. `error` is the error that says the same, if there is one."""

    check: str
    grade: Grade
    says: str
    cure: str | None = None
    error: AtcError | None = field(default=None, repr=False, compare=False)

    def raised(self) -> AtcError:
        """The finding as an error."""
        return self.error or AtcError(self.says, hint=self.cure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is judged: a plan, its engine's options as they were read, and what is known of the model.

    `sets` are the options on each accelerator, where they differ.
    """

    plan: Plan
    options: Options
    facts: Facts
    known: KnownModels
    sets: Mapping[Accelerator, Options] = field(default_factory=dict)

    @property
    def vllm(self) -> bool:
        """Whether the pinned vLLM's own rules hold; another version or program may have others."""
        return self.plan.engine is EngineName.VLLM

    @property
    def pinned(self) -> bool:
        """Whether the engine is the one of which everything is known."""
        return self.plan.pin.version == self.known.version and not self.plan.executable

    def options_on(self, accelerator: Accelerator) -> Options:
        """The engine's options on a machine with this accelerator."""
        return self.sets.get(accelerator, self.options)


def ok(check: str, says: str) -> Finding:
    """A check that found nothing wrong."""
    return Finding(check=check, grade=Grade.OK, says=says)


def warning(check: str, says: str, cure: str | None = None) -> Finding:
    """A check that found what a user should know, and that stops nothing."""
    return Finding(check=check, grade=Grade.WARNING, says=says, cure=cure)


def refused(check: str, says: str, cure: str | None = None) -> Finding:
    """A check that found that the engine cannot start."""
    return Finding(check=check, grade=Grade.REFUSED, says=says, cure=cure)


def unknown(check: str, says: str, cure: str | None = None) -> Finding:
    """A check that found nothing out."""
    return Finding(check=check, grade=Grade.UNKNOWN, says=says, cure=cure)


def broken(check: str, says: str, cure: str | None = None) -> Finding:
    """A check that found something to mend."""
    return Finding(check=check, grade=Grade.BROKEN, says=says, cure=cure)


def of_broken(check: str, error: AtcError) -> Finding:
    """An error as something to mend."""
    return Finding(check=check, grade=Grade.BROKEN, says=error.message, cure=error.hint, error=error)


def of_error(check: str, error: AtcError) -> Finding:
    """An error as the finding that it is."""
    return Finding(check=check, grade=Grade.REFUSED, says=error.message, cure=error.hint, error=error)


def judged(seen: Seen) -> tuple[Finding, ...]:
    """Everything about the model and the options that needs no machine to be looked at."""
    checks = (_architecture, _tokenizer, _chat_template, _context, _parallel, _disk)
    return tuple(finding for check in checks for finding in check(seen))


def refusals(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """What keeps it from starting."""
    return tuple(one for one in findings if one.grade is Grade.REFUSED)


def _architecture(seen: Seen) -> Iterator[Finding]:
    name = seen.facts.spec.architecture
    if name is None:
        yield unknown("architecture", "Which architecture it has is not said.")
        return
    if not seen.pinned:
        yield unknown(
            "architecture", f"What another {seen.plan.engine} than the pinned one loads is not known."
        )
        return
    why = seen.known.why_not(name)
    if why is None:
        yield ok("architecture", f"{name} is known to {seen.known.engine} {seen.known.version}.")
    elif seen.facts.papers.own_code and not seen.options.get("trust_remote_code"):
        make = warning if name in seen.known.transformers else refused
        yield make(
            "architecture",
            f"{why} The model brings code of its own, which is not trusted by itself.",
            "--trust-remote-code",
        )
    elif name in seen.known.transformers or seen.facts.papers.own_code:
        yield warning("architecture", f"{why} It may run through transformers, slower, or not at all.")
    else:
        yield refused("architecture", why, "another revision of the model, or another format of it")


def _tokenizer(seen: Seen) -> Iterator[Finding]:
    if seen.facts.papers.tokenizer is None:
        return
    if seen.facts.papers.tokenizer or seen.options.get("tokenizer"):
        yield ok("tokenizer", "The tokenizer is there.")
    elif seen.options.get("skip_tokenizer_init"):
        yield warning("tokenizer", "There is no tokenizer: requests must bring token ids.")
    else:
        yield refused(
            "tokenizer",
            f"No tokenizer lies beside the weights of {seen.facts.spec.ref.name}.",
            "add tokenizer.json to the checkpoint, or name another: -- --tokenizer OWNER/NAME"
            if seen.vllm
            else "convert the model anew: the converter writes the tokenizer into the GGUF file",
        )


def _chat_template(seen: Seen) -> Iterator[Finding]:
    papers = seen.facts.papers
    if papers.chat_template is None or seen.facts.spec.runner is Runner.POOLING:
        return
    if papers.chat_template or seen.options.get("chat_template"):
        yield ok("chat", "A chat template is there.")
    elif not seen.vllm:
        yield warning("chat", "It has no chat template: llama-server formats chats as ChatML.")
    elif papers.model_type in seen.known.chat_templates:
        yield ok("chat", f"It has no chat template, and vLLM brings one for {papers.model_type}.")
    else:
        yield warning(
            "chat",
            "It has no chat template: chat requests will be answered with 400, completions work.",
            "--chat-template FILE",
        )


def _context(seen: Seen) -> Iterator[Finding]:
    shape = seen.facts.architecture
    most = shape.context if isinstance(shape, Architecture) else None
    asked = seen.options.get("max_model_len" if seen.vllm else "ctx_size")
    if most is None or not isinstance(asked, int) or asked <= 0:
        return
    if asked <= most:
        yield ok("context", f"{asked} tokens of context are within the model's {most}.")
        return
    says = f"A context of {asked} tokens is asked for, and the model was made for {most}."
    cure = f"--max-model-len {most}"
    if not seen.vllm:
        yield warning("context", f"{says} llama-server caps it.", cure)
    elif seen.facts.papers.stretched:
        yield unknown(
            "context", f"{says} Its configuration stretches that, by how much is vLLM's to say.", cure
        )
    elif dict(seen.plan.envs).get(LONG_CONTEXT) == "1":
        yield warning("context", f"{says} {LONG_CONTEXT}=1 lets it start; answers may be nonsense.", cure)
    else:
        yield refused("context", says, cure)


def _parallel(seen: Seen) -> Iterator[Finding]:
    shape, ranks = seen.facts.architecture, seen.options.get("tensor_parallel_size", 1)
    if not seen.vllm or not isinstance(shape, Architecture) or not isinstance(ranks, int) or ranks < 2:
        return
    said = cannot_share(shape, ranks)
    if said is None:
        yield ok("parallel", f"{ranks} GPUs share it evenly.")
    else:
        fitting = [n for n in range(ranks - 1, 0, -1) if cannot_share(shape, n) is None]
        yield refused("parallel", f"{said}.", f"-- --tensor-parallel-size {fitting[0] if fitting else 1}")


def _disk(seen: Seen) -> Iterator[Finding]:
    if seen.plan.place.local or seen.facts.spec.bytes is None:
        return
    if seen.plan.streamed:
        yield ok("disk", "The weights are streamed past the disk.")
        return
    have, need = seen.plan.disk_size or SKY_DISK, seen.facts.spec.bytes / GIB + SOFTWARE
    if need <= have:
        yield ok("disk", f"{gib(seen.facts.spec.bytes)} of weights go on a disk of {have} GiB.")
    else:
        yield refused(
            "disk",
            f"{gib(seen.facts.spec.bytes)} of weights and the engine do not go on a disk of {have} GiB.",
            f"--disk-size {int(need * 1.2) + 1}",
        )


def copied(plan: Plan) -> bool:
    """Whether the weights travel to this machine before an engine here reads them."""
    return plan.model.ref.where is not Where.DISK
