"""Request + model + machine → Plan: everything that is decided before anything is started."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import assert_never

from llm_atc.errors import ModelUnservable, OfferError, UsageError
from llm_atc.plan import inference, llama_cpp, vllm
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.deciding_delivery import arguments_of, decide_delivery, said
from llm_atc.plan.deciding_ending import decide_ending
from llm_atc.plan.delivery import Delivery, Way
from llm_atc.plan.ending import Ending
from llm_atc.plan.engine import EngineName, Machine, Pin
from llm_atc.plan.flag_checks import check_flags
from llm_atc.plan.generation import relay_words
from llm_atc.plan.model import Format, ModelSpec, Where
from llm_atc.plan.mounted import check_brought
from llm_atc.plan.offers import Choice
from llm_atc.plan.picking import Picked
from llm_atc.plan.placement import TLS_VARIABLE, gpus_of, listen_words, own_executable, there
from llm_atc.plan.places import Place
from llm_atc.plan.request import DEFAULT_PORT, Request, check_name, name_for

CHECKPOINTS = "~/.llm-atc/checkpoints"
RUNS = {Format.HUGGING_FACE: EngineName.VLLM, Format.GGUF: EngineName.LLAMA_CPP}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentSet:
    """The engine's arguments for a machine that turns out to have this accelerator."""

    accelerator: Accelerator
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will run, where, and how: decided, and holding no secret's value.

    `arguments` follow the engine's own command and model, those of a set in `by_accelerator` in their place
    where there is one for the machine's accelerator; `relay_arguments` follow the relay's. `accelerators` are
    in order of preference; `choices` are the machines to try where llm-atc chose them; `notes` are decisions
    that a user may wonder about, a sentence each; `disk_size` is GiB. `executable` are the words that run
    here instead of the pinned engine. `files` are paths of a cloud machine, each with what is put there.
    `ending` and `delivery` are for machines of clouds.
    """

    name: str
    place: Place
    model: ModelSpec
    engine: EngineName
    pin: Pin
    arguments: tuple[str, ...]
    by_accelerator: tuple[ArgumentSet, ...] = ()
    relay_arguments: tuple[str, ...] = ()
    executable: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    host: str | None = None
    log_file: str | None = None
    accelerators: tuple[Accelerator, ...] = ()
    choices: tuple[Choice, ...] = ()
    num_nodes: int = 1
    spot: bool = False
    disk_size: int | None = None
    image: str | None = None
    port: int = DEFAULT_PORT
    port_fixed: bool = False
    envs: tuple[tuple[str, str], ...] = ()
    secret_names: tuple[str, ...] = ()
    auth: bool = True
    tls: bool = False
    private: bool = False
    setup: bool = True
    ending: Ending = field(default_factory=Ending)
    delivery: Delivery | None = None
    notes: tuple[str, ...] = ()

    @property
    def key_variable(self) -> str:
        """The environment variable from which the engine takes its key, or its keys with commas between."""
        return key_variable(self.engine)

    @property
    def checkpoint(self) -> str:
        """What the engine loads on a cloud machine: the hub's id, the path that the files are put at, or the
        bucket's address."""
        if self.model.ref.where is Where.HUB or self.streamed:
            return self.model.ref.location
        folder = f"{CHECKPOINTS}/{name_for(self.model.ref.name)}"
        return f"{folder}/{self.model.file}" if self.model.file else folder

    @property
    def streamed(self) -> bool:
        """Whether the weights never lie on the machine's disk."""
        return self.delivery is not None and self.delivery.way is Way.STREAM


def make_plan(
    request: Request, model: ModelSpec, machine: Machine | None = None, picked: Picked | None = None
) -> Plan:
    """Decide everything. `machine` is this one, for a plan that runs here; None plans for a cloud. `picked`
    are the machines to try, where llm-atc has chosen them.

    Raises UsageError for flags that contradict each other, ModelUnservable when the chosen engine cannot
    load the model's format, OfferError when no pinned engine runs on the accelerator.
    """
    check_flags(request)
    if picked is not None:
        request = replace(request, accelerators=picked.accelerators)
    if machine is None and not request.accelerators:
        raise accelerator_wanted()
    engine = choose_engine(request.engine, model)
    name = check_name(request.name or name_for(model.ref.name))
    if request.served_model_name is not None:
        model = replace(model, ref=replace(model.ref, name=request.served_model_name))
    asked, files = there(request.inference, name) if machine is None else (request.inference, ())
    check_brought(request, model, files)
    common = inference.words(asked, engine)
    match engine:
        case EngineName.VLLM:
            pin, arguments, envs, notes = _plan_vllm(request, model, machine, picked)
        case EngineName.LLAMA_CPP:
            pin, envs, notes = llama_cpp.PIN, request.envs, ()
            held = gpus_of(request, machine)
            arguments = llama_cpp.arguments(model, gpus=held, used=request.inference.gpus)
        case _:
            assert_never(engine)
    delivery = decide_delivery(request, model, engine, pin)
    arguments = (*arguments, *arguments_of(delivery))
    sets = _sets(engine, arguments, (*common, *request.engine_args), picked)
    ending, why = decide_ending(request, model, picked, delivery)
    names = [name for name, _ in request.secrets]
    if request.auth:
        names.append(key_variable(engine))
    if request.tls:
        names.append(TLS_VARIABLE)
    return Plan(
        name=name,
        place=request.place,
        model=model,
        engine=engine,
        pin=pin,
        arguments=sets[0].arguments if sets else (*arguments, *common, *request.engine_args),
        by_accelerator=sets if len(sets) > 1 else (),
        relay_arguments=(*listen_words(request, machine), *relay_words(request.generation)),
        executable=own_executable(request, engine) if machine else (),
        files=files,
        host=request.host,
        log_file=request.log_file,
        accelerators=request.accelerators,
        choices=picked.choices if picked else (),
        num_nodes=request.num_nodes,
        spot=picked.choices[0].spot if picked else request.spot,
        disk_size=request.disk_size,
        image=request.image,
        port=request.port or DEFAULT_PORT,
        port_fixed=request.port is not None,
        envs=tuple(sorted(envs)),
        secret_names=tuple(dict.fromkeys(names)),
        auth=request.auth,
        tls=request.tls,
        private=request.private,
        setup=request.setup,
        ending=ending,
        delivery=delivery,
        notes=(
            *choice(model),
            *said(delivery),
            *notes,
            *(picked.notes if picked else _spot_note(request)),
            *why,
        ),
    )


def _spot_note(request: Request) -> tuple[str, ...]:
    if not request.spot:
        return ()
    return ("A spot machine is tried first, and one on demand where no spot machine can be had.",)


def choice(model: ModelSpec) -> tuple[str, ...]:
    """What is said of a quantization that nobody asked for, where there are others."""
    if model.format is not Format.GGUF or model.ref.quantization is not None or len(model.quantizations) < 2:
        return ()
    taken, *others = model.quantizations
    another = replace(model.ref, quantization=others[0])
    return (
        f"Of its quantizations {taken} is taken; there are also {', '.join(others)} (such as {another}).",
    )


def _sets(
    engine: EngineName, arguments: tuple[str, ...], asked: tuple[str, ...], picked: Picked | None
) -> tuple[ArgumentSet, ...]:
    """The whole arguments for each accelerator that was picked, the first choice's first.

    llama.cpp's differ in nothing but the context, and its task knows one set: the one that fits everywhere.
    """
    tuned = picked.tuned if picked else ()
    if engine is EngineName.LLAMA_CPP:
        tuned = tuple(sorted(tuned, key=lambda one: one.verdict.max_model_len)[:1])
    return tuple(
        ArgumentSet(
            accelerator=one.verdict.accelerator,
            arguments=(*arguments, *one.arguments, *asked),
        )
        for one in tuned
    )


def accelerator_wanted(why: str | None = None) -> UsageError:
    """The error where llm-atc cannot choose an accelerator by itself, and the user has named none."""
    return UsageError(
        "On a cloud, say which accelerator the model is to run on" + (f": {why}" if why else "."),
        hint="--accelerator L4:1   (or --cloud local for this machine)",
    )


def choose_engine(asked: EngineName | None, model: ModelSpec) -> EngineName:
    """The engine that loads the model's format; ModelUnservable when the one asked for cannot."""
    fitting = RUNS[model.format]
    if asked is None or asked is fitting or not model.looked:
        return asked or fitting
    raise ModelUnservable(
        f"{asked} cannot load {model.ref.name}: it is stored as {model.format}.", hint=f"--backend {fitting}"
    )


def key_variable(engine: EngineName) -> str:
    """The environment variable from which this engine takes its API key."""
    return vllm.KEY_VARIABLE if engine is EngineName.VLLM else llama_cpp.KEY_VARIABLE


VllmPlan = tuple[Pin, tuple[str, ...], tuple[tuple[str, str], ...], tuple[str, ...]]


def _plan_vllm(
    request: Request, model: ModelSpec, machine: Machine | None, picked: Picked | None
) -> VllmPlan:
    if machine is not None:
        return _plan_vllm_here(request, model, machine)
    pinned = vllm.pin_for(request.accelerators)
    if pinned is None:
        names = ", ".join(str(a) for a in request.accelerators)
        raise OfferError(
            f"No pinned vLLM runs on {names}: the oldest that one of them runs on has compute capability "
            f"{'.'.join(map(str, vllm.PINS[-1].lowest))}.",
            hint="--accelerator T4:1",
        )
    tuned = picked is not None and bool(picked.tuned)  # what differs by accelerator is settled there
    gpus_of(request, machine)
    asked = request.inference.gpus
    tensor_parallel = (1 if tuned else _tensor_parallel(request)) if asked is None else asked
    said = asked is not None or (not tuned and _staged(request))
    arguments = vllm.arguments(model, tensor_parallel=tensor_parallel, always=said)
    arguments += vllm.memory_arguments(request.inference, request.engine_args)
    notes = [pinned.why] if pinned.why else []
    if pinned.why and len(request.accelerators) > 1:
        notes.append(f"vLLM {pinned.pin.version} then runs on whichever of these accelerators is had.")
    if request.num_nodes > 1:
        notes.append("Several machines run one model through Ray: this has not been tried on real machines.")
    if request.image:
        notes.append("A container image is used as it is: this has not been tried on real machines.")
    return pinned.pin, (*arguments, *(() if tuned else pinned.arguments)), request.envs, tuple(notes)


def _tensor_parallel(request: Request) -> int:
    """Every accelerator of a machine holds a part. Where counts differ, or there are several machines, it is
    settled on the machine by the task, and 1 stands for that here."""
    counts = {a.count for a in request.accelerators}
    if len(counts) != 1 or request.num_nodes > 1:
        return 1
    return max(1, counts.pop() // vllm.stages_of(request.engine_args))


def _staged(request: Request) -> bool:
    """Whether a machine's accelerators are stages too: left unsaid, the task would have all share a layer."""
    counts = {a.count for a in request.accelerators}
    return len(counts) == 1 and request.num_nodes == 1 and vllm.stages_of(request.engine_args) > 1


def _plan_vllm_here(request: Request, model: ModelSpec, machine: Machine) -> VllmPlan:
    held, asked = gpus_of(request, machine), request.inference.gpus
    arguments = vllm.arguments(model, tensor_parallel=max(held if asked is None else asked, 1))
    if EngineName.VLLM not in dict(request.executables):
        arguments += vllm.QUIET
    if machine.gpus:
        arguments += vllm.memory_arguments(request.inference, request.engine_args)
        return vllm.CURRENT.pin, arguments, request.envs, ()
    envs = dict(vllm.cpu_environment(machine)) | dict(request.envs)
    arguments += vllm.cpu_arguments(machine, request.inference, request.engine_args)
    note = (
        f"This machine has no NVIDIA GPU: vLLM {vllm.CPU_PIN.version} runs on its {machine.cpus} CPU cores."
    )
    return vllm.CPU_PIN, arguments, tuple(envs.items()), (note,)
