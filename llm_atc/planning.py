"""From a request to a plan: look at the model, at what is sold and at this machine, then decide."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llm_atc.access import Secret
from llm_atc.choosing import chosen, narrowed
from llm_atc.errors import AtcError, CloudError, ModelError, OfferError, SourceError
from llm_atc.plan import inference
from llm_atc.plan.accelerators import unknown_accelerator
from llm_atc.plan.backend_words import Backend, check_once, join
from llm_atc.plan.engine import EngineName
from llm_atc.plan.engine_args import checked
from llm_atc.plan.flag_checks import check_engine_args, check_flags
from llm_atc.plan.model import Format, ModelRef, ModelSpec, Where
from llm_atc.plan.model_facts import Facts
from llm_atc.plan.plan import (
    Plan,
    accelerator_wanted,
    choose_engine,
    make_plan,
)
from llm_atc.plan.request import Request
from llm_atc.ports import Catalog, World

HUB_TOKEN = "HF_TOKEN"  # noqa: S105  (the variable's name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, what could not be made sure of, a sentence each, and what is wrong with model and machines."""

    plan: Plan
    warnings: tuple[str, ...] = ()
    problems: tuple[AtcError, ...] = ()


def plan(world: World, request: Request, *, strict: bool = True, ask: bool | None = None) -> Planned:
    """Look at the model and at what is sold, and decide.

    With `strict`, what is wrong with them is raised; without, it is one of the problems, and the plan assumes
    what it could not see. With `ask`, as with `strict`, SkyPilot is asked which clouds may be used.
    """
    check_flags(request)
    ask = strict if ask is None else ask
    warnings: list[str] = []
    problems: list[AtcError] = []

    def wrong(error: AtcError) -> None:
        if strict:
            raise error
        problems.append(error)

    ref = ModelRef.parse(request.model, request.source, request.revision)
    token = dict(request.secrets).get(HUB_TOKEN)
    spec, picked = ModelSpec.assumed(ref), None
    if request.place.local or request.accelerators:
        try:
            spec = _looked(world, ref, token, request)
        except (ModelError, SourceError) as error:
            wrong(error)
        request, notes = _joined(world, request, spec)
        try:
            _check_offers(world.catalog, request, warnings)
        except (OfferError, CloudError) as error:
            wrong(error)
        if request.max_price is not None:  # a limit that cannot be kept is never dropped
            picked = narrowed(world, request, warnings, ask=ask)
    else:
        facts = _measured(world, ref, token, request)
        request, notes = _joined(world, request, facts.spec)
        spec, picked = facts.spec, chosen(world, request, facts, warnings, ask=ask)
    machine = world.engines.machine() if request.place.local else None
    if ref.where is Where.HUB and world.environ.get(HUB_TOKEN) and token is None and machine is None:
        warnings.append(
            f"Your {HUB_TOKEN} stays here: a gated model needs it there, by --secret {HUB_TOKEN}."
        )
    decided = make_plan(request, spec, machine, picked)
    decided = replace(decided, notes=(*decided.notes, *notes))
    decided = checked(decided, world.options(decided.engine))
    return Planned(plan=decided, warnings=tuple(warnings), problems=tuple(problems))


def _joined(world: World, request: Request, spec: ModelSpec) -> tuple[Request, tuple[str, ...]]:
    """The request with its engine and the words for it, and what is to be said of those.

    What llm-atc sets itself is not for the engine, and nothing is said twice: UsageError otherwise.
    """
    engine = choose_engine(request.engine, spec)
    joined = join(request.backend, engine, world.options)
    check_engine_args(joined.words)
    if not (request.place.local and engine in dict(request.executables)):  # that may have other options
        check_once(inference.words_with_gpus(request.inference, engine), joined.words, world.options(engine))
    words = (*request.engine_args, *joined.words)
    return replace(request, engine=engine, engine_args=words, backend=Backend()), joined.notes


def _looked(world: World, ref: ModelRef, token: Secret | None, request: Request) -> ModelSpec:
    spec = world.models.look(ref, token)
    gguf = _gguf_beside(spec, request)
    return spec if gguf is None else world.models.look(gguf, token)


def _measured(world: World, ref: ModelRef, token: Secret | None, request: Request) -> Facts:
    """What the model's memory depends on. No machine can be chosen by a guess: SourceError asks for one."""
    try:
        facts = world.models.measure(ref, token)
        gguf = _gguf_beside(facts.spec, request)
        return facts if gguf is None else world.models.measure(gguf, token)
    except SourceError as error:
        wanted = accelerator_wanted(f"the model cannot be looked at. {error.message}")
        raise SourceError(wanted.message, hint=wanted.hint, details=error.details) from error


def _gguf_beside(spec: ModelSpec, request: Request) -> ModelRef | None:
    """The GGUF file that lies beside the weights for vLLM, where llama.cpp is asked for.

    Of a model that both engines can run, vLLM takes its own unless the user says otherwise.
    """
    beside = request.engine is EngineName.LLAMA_CPP and spec.format is Format.HUGGING_FACE
    if not beside or not spec.quantizations:
        return None
    return replace(spec.ref, quantization=spec.quantizations[0])


def _check_offers(catalog: Catalog, request: Request, warnings: list[str]) -> None:
    """Whether at least one of the wishes is sold there; the ones that are not are warned of."""
    problems: list[OfferError] = []
    for accelerator in request.accelerators:
        sold = catalog.check(request.place, accelerator)
        if sold.exact:
            continue
        if sold.unknown:
            problems.append(unknown_accelerator(accelerator, sold.names))
            continue
        near = "; ".join(sold.nearest)
        problems.append(
            OfferError(
                f"{request.place} does not sell {accelerator}."
                + (f" The nearest that is sold: {near}." if near else ""),
                hint=f"sky gpus list {accelerator.name} --all-regions",
            )
        )
    if problems and len(problems) == len(request.accelerators):
        raise problems[0]
    warnings += [problem.message for problem in problems]
