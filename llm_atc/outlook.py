"""What is known before anything exists: the plan, and each thing that would keep it from starting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from llm_atc.access import Secret
from llm_atc.errors import (
    AtcError,
    CloudError,
    DeploymentError,
    ModelError,
    OfferError,
    SourceError,
    UsageError,
)
from llm_atc.plan.command_line import parse_words
from llm_atc.plan.engine import EngineName, Machine
from llm_atc.plan.fit_report import FitReport
from llm_atc.plan.flag_checks import check_flags
from llm_atc.plan.memory_check import completed, fit_of, fits
from llm_atc.plan.model import ModelRef, ModelSpec
from llm_atc.plan.model_facts import Facts
from llm_atc.plan.named_files import named_files
from llm_atc.plan.options import Options
from llm_atc.plan.plan import Plan
from llm_atc.plan.preflight import (
    Finding,
    Grade,
    Seen,
    judged,
    of_error,
    ok,
    refusals,
    refused,
    unknown,
    warning,
)
from llm_atc.plan.quantization_check import quantized
from llm_atc.plan.quota import quotas
from llm_atc.plan.request import Request, name_for
from llm_atc.planning import HUB_TOKEN, Planned, plan
from llm_atc.ports import Models, Reporter, World

_CHECKS: Mapping[type[AtcError], str] = {
    ModelError: "model",
    SourceError: "model",
    OfferError: "offers",
    CloudError: "cloud",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A plan before it is carried out, with what was found about it.

    `plan` is None where nothing could be decided; `facts` and `fit` where nobody could look at the model.
    """

    plan: Plan | None
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    facts: Facts | None = None
    options: Options | None = None
    fit: FitReport | None = None
    machine: Machine | None = None

    @property
    def starts(self) -> bool:
        """Whether nothing is known that keeps it from starting."""
        return self.plan is not None and not refusals(self.findings)

    def startable(self, *, force: bool | None = False) -> Plan:
        """The plan; the first refusal is raised as an error, the others being its details, unless `force`.

        `force` is None where the user cannot ask for it, and is not told of it then.
        """
        stops = refusals(self.findings)
        if self.plan is not None and (force or not stops):
            return self.plan
        first, *others = stops
        error = first.raised()
        error.details = (*error.details, *(_line(one) for one in others))
        if self.plan is not None and error.exit_code == 1 and force is not None:
            error.details = (*error.details, "Nothing was started. --force starts it all the same.")
        raise error

    def warnings(self) -> Iterator[str]:
        """What a user is to be told before a start, a sentence each."""
        yield from (_line(one) for one in self.findings if one.grade in (Grade.WARNING, Grade.REFUSED))
        yield from self.notes


def _line(one: Finding) -> str:
    return one.says + (f" Try: {one.cure}" if one.cure else "")


def look(world: World, request: Request, *, ask: bool = True) -> Outlook:
    """Everything that can be known before a start, asked for at once.

    With `ask`, SkyPilot is asked about its clouds, which takes seconds; without, what it said last counts.
    Raises UsageError for what contradicts itself.
    """
    check_flags(request)
    ref = ModelRef.parse(request.model, request.source, request.revision)
    models = _Once(world.models)
    world = replace(world, models=models)
    with ThreadPoolExecutor(3, thread_name_prefix="preflight") as threads:
        token = dict(request.secrets).get(HUB_TOKEN)
        measured = threads.submit(_attempt, lambda: models.measure(ref, token))
        machine = threads.submit(world.engines.machine) if request.place.local else None
        found = _planned(world, request, ask=ask)
        measured.result()
        facts = models.last
    planned = found if isinstance(found, Planned) else None
    problems = planned.problems if planned else (found,) if isinstance(found, AtcError) else ()
    if isinstance(facts, AtcError) and not any(facts in (one, one.__cause__) for one in problems):
        problems = (facts, *problems)
    findings = [of_error(_check_of(error), error) for error in problems]
    if planned is None:
        return Outlook(plan=None, findings=tuple(findings))
    found_out = _judged(world, request, planned, facts, findings, machine)
    # SkyPilot starts its server and asks clouds, which is in vain for what cannot start anyway.
    clouds = _clouds(world, request, ask=ask) if found_out.starts or not ask else []
    usable = ask and found_out.starts and not refusals(clouds) and not request.place.local
    quota = _quotas(world, found_out.plan or planned.plan) if usable else []
    return replace(found_out, findings=(*found_out.findings, *clouds, *quota))


def _judged(
    world: World,
    request: Request,
    planned: Planned,
    facts: Facts | AtcError,
    findings: list[Finding],
    machine: Future[Machine] | None,
) -> Outlook:
    decided = planned.plan
    options = _options(world, decided)
    here = machine.result() if machine else None
    findings += [*_name(world, request, decided), *_port(world, decided), *_files(world, decided, options)]
    if isinstance(facts, AtcError):
        notes = (*planned.warnings, *decided.notes)
        return Outlook(plan=decided, findings=tuple(findings), notes=notes, options=options, machine=here)
    if not any(one.check == "model" for one in findings):
        findings.insert(0, ok("model", f"{facts.spec.ref.name} can be read."))
    if not any(one.check in ("offers", "cloud") for one in findings) and here is None:
        findings.insert(
            1, ok("offers", f"{decided.place} sells {' or '.join(map(str, decided.accelerators))}.")
        )
    seen = Seen(plan=decided, options=options, facts=facts, known=world.known(decided.engine))
    decided = completed(seen)
    sets = {
        one.accelerator: _options(world, replace(decided, arguments=one.arguments))
        for one in decided.by_accelerator
    }
    seen = replace(seen, plan=decided, options=_options(world, decided), sets=sets)
    notes = (*planned.warnings, *decided.notes)
    findings += [*judged(seen), *quantized(seen), *fits(seen, here)]
    return Outlook(
        plan=decided,
        findings=tuple(findings),
        notes=notes,
        facts=facts,
        options=seen.options,
        fit=fit_of(seen, request.concurrency) if here is None else None,
        machine=here,
    )


def _planned(world: World, request: Request, *, ask: bool) -> Planned | AtcError:
    try:
        return plan(world, request, strict=False, ask=ask)
    except UsageError:
        raise
    except AtcError as error:
        return error


def _check_of(error: AtcError) -> str:
    return next((check for kind, check in _CHECKS.items() if isinstance(error, kind)), "plan")


def _options(world: World, decided: Plan) -> Options:
    """The engine's options, read; empty for an engine of another version, whose words may be others."""
    model = (decided.checkpoint,) if decided.engine is EngineName.VLLM else ()
    try:
        return parse_words((*model, *decided.arguments), world.options(decided.engine)).options
    except UsageError:
        return {}


def _clouds(world: World, request: Request, *, ask: bool) -> list[Finding]:
    """Whether the cloud can be used: as SkyPilot says now, or said last."""
    cloud = request.place.cloud
    if request.place.local:
        return []
    if ask:
        try:
            usable = world.cloud.clouds(cloud)
        except AtcError as error:
            return [of_error("cloud", error)]
        return [ok("cloud", f"{' and '.join(usable)} can be used.")]
    kept = world.catalog.kept()
    if kept is None or kept.clouds is None:
        return [warning("cloud", "Which clouds can be used was not asked.", "llm-atc doctor")]
    if cloud is not None and cloud not in kept.clouds:
        return [
            refused("cloud", f"{cloud} was not enabled when SkyPilot was asked last.", f"sky check {cloud}")
        ]
    return [ok("cloud", f"{cloud or ' and '.join(kept.clouds)} could be used when SkyPilot was asked last.")]


def _quotas(world: World, decided: Plan) -> list[Finding]:
    """Whether the account may have these machines at all, where a cloud tells."""
    try:
        return list(quotas(world.cloud.allowances(decided)))
    except AtcError as error:
        return [unknown("quota", error.message, error.hint)]


def _name(world: World, request: Request, decided: Plan) -> list[Finding]:
    """Whether the name is free, as far as llm-atc itself remembers."""
    known = world.store.get(decided.name)
    if known is None:
        return [ok("name", f"No deployment is called {decided.name}.")]
    if known.plan.place.local is not decided.place.local:
        says = f"{decided.name} is a deployment on {known.plan.place} already."
        return [of_error("name", DeploymentError(says, hint=f"llm-atc down {decided.name}"))]
    other = f"-c {name_for(decided.model.ref.name)}-2"
    return [warning("name", f"{decided.name} is a deployment already, which this would replace.", other)]


def _port(world: World, decided: Plan) -> list[Finding]:
    if not decided.place.local or not decided.port_fixed:
        return []
    try:
        world.here.check_port(decided)
    except AtcError as error:
        return [of_error("port", error)]
    return [ok("port", f"Port {decided.port} is free.")]


def _files(world: World, decided: Plan, options: Options) -> list[Finding]:
    """Whether the files that the engine's options name are here; a container has others."""
    if not decided.place.local or decided.executable:
        return []
    absent = [one for one in named_files(decided.engine, options) if not world.here.is_here(one[1])]
    says = "{} names {}, and there is no such file here."
    return [refused("files", says.format(flag, path)) for flag, path in absent]


def _attempt(measure: Callable[[], Facts]) -> Facts | AtcError:
    try:
        return measure()
    except AtcError as error:
        return error


class _Once:
    """Models that are looked at once, however often they are asked about."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._lock = threading.Lock()
        self._found: dict[ModelRef, Facts | AtcError] = {}

    @property
    def last(self) -> Facts | AtcError:
        """What the last look came to: several references may have been tried."""
        return next(reversed(self._found.values()))

    def measure(self, ref: ModelRef, token: Secret | None) -> Facts:
        with self._lock:
            if ref not in self._found:
                self._found[ref] = _attempt(lambda: self._models.measure(ref, token))
        found = self._found[ref]
        if isinstance(found, AtcError):
            raise found
        return found

    def look(self, ref: ModelRef, token: Secret | None) -> ModelSpec:
        return self.measure(ref, token).spec

    def fetch(self, model: ModelSpec, report: Reporter) -> str:
        return self._models.fetch(model, report)

    def path(self, model: ModelSpec) -> str:
        return self._models.path(model)
