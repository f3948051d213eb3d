"""What `llm-atc plan` tells, as one shape for JSON and for people: see docs/plan.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llm_atc.plan.architecture import Architecture
from llm_atc.plan.fit_report import FitReport
from llm_atc.plan.keys import BY_NAME
from llm_atc.plan.known_models import KnownModels
from llm_atc.plan.layers import BUILT_IN, Settled
from llm_atc.plan.market import Row
from llm_atc.plan.model_facts import Facts
from llm_atc.plan.plan import Plan
from llm_atc.plan.preflight import Finding, copied, refusals
from llm_atc.plan.vllm import PINS

HIDDEN = "(hidden)"
# Engine and environment, as they are downloaded on a machine of a cloud: a measured order of magnitude.
BITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """All that is told. `bandwidth` is gigabits a second; `stops` says what ends it by itself, None where
    nobody knows yet."""

    plan: Plan | None
    findings: tuple[Finding, ...]
    facts: Facts | None
    fit: FitReport | None
    known: KnownModels | None
    settled: Settled
    rows: Sequence[Row]
    prices_age: str | None
    bandwidth: float
    stops: str | None
    notes: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """As `--json` prints it; null is what is not known."""
        stops = refusals(self.findings)
        return {
            "starts": self.plan is not None and not stops,
            "because": [one.says for one in stops],
            "name": self.plan.name if self.plan else None,
            "where": str(self.plan.place) if self.plan else None,
            "model": self._model(),
            "engine": self._engine(),
            "settings": self._settings(),
            "checks": [
                {"check": one.check, "verdict": str(one.grade), "says": one.says, "cure": one.cure}
                for one in self.findings
            ],
            "fit": self.fit.facts()["verdicts"] if self.fit else [],
            "offers": [row.facts() for row in self.rows],
            "machines": self.plan.num_nodes if self.plan else 1,
            "prices_age": self.prices_age,
            "weights": self._weights(),
            "download": self._download(),
            "protection": self.protection(),
            "stops": self.stops,
            "notes": list(self.notes),
        }

    def _model(self) -> dict[str, Any] | None:
        if self.facts is None or self.known is None:
            return None
        spec, shape, papers = self.facts.spec, self.facts.architecture, self.facts.papers
        known = shape if isinstance(shape, Architecture) else None
        names = (spec.architecture or "", spec.ref.name)
        return {
            "name": spec.ref.name,
            "location": spec.ref.location,
            "revision": spec.revision,
            "format": str(spec.format),
            "architecture": spec.architecture,
            "runner": str(spec.runner),
            "modality": [str(kind) for kind in papers.modality],
            "bytes": spec.bytes,
            "parameters": self.facts.weights.parameters,
            "parameters_by_dtype": {one.dtype: one.parameters for one in self.facts.weights.stored},
            "experts": known.experts if known else None,
            "active_experts": known.active if known else None,
            "quantization": papers.quantization,
            "context": known.context if known else None,
            "tokenizer": papers.tokenizer,
            "chat_template": papers.chat_template,
            "generation_defaults": dict(papers.generation) if papers.generation is not None else None,
            "tool_parser_hints": list(self.known.tool_parsers_like(*names)),
            "reasoning_parser_hints": list(self.known.reasoning_parsers_like(*names)),
        }

    def _engine(self) -> dict[str, Any] | None:
        if self.plan is None:
            return None
        why = next((one.why for one in PINS if one.pin == self.plan.pin), None)
        return {
            "name": str(self.plan.engine),
            "version": self.plan.pin.version,
            "why": why,
            "arguments": list(self.plan.arguments),
            "by_accelerator": {str(one.accelerator): list(one.arguments) for one in self.plan.by_accelerator},
        }

    def _settings(self) -> list[dict[str, Any]]:
        """What somebody said, each with its source; secrets by name alone."""
        return [
            {
                "setting": name,
                "value": HIDDEN if BY_NAME[name].secret else one.value,
                "source": one.source,
            }
            for name, one in self.settled.items()
            if one.source != BUILT_IN
        ]

    def _weights(self) -> dict[str, str] | None:
        """How they come to a cloud's machine."""
        delivery = self.plan.delivery if self.plan else None
        return {"way": str(delivery.way), "why": delivery.why} if delivery else None

    def _download(self) -> dict[str, Any] | None:
        if self.plan is None or self.facts is None or self.facts.spec.bytes is None:
            return None
        size = self.facts.spec.bytes if copied(self.plan) or not self.plan.place.local else 0
        return {
            "bytes": size,
            "gigabits_per_second": self.bandwidth,
            "seconds": round(size * BITS / (self.bandwidth * 1e9), 1),
        }

    def protection(self) -> str | None:
        """Who may ask the endpoint."""
        if self.plan is None:
            return None
        if not self.plan.auth:
            return "none: everybody who reaches the address can use it"
        if self.plan.place.local:
            return f"a key, which the relay asks for; it listens on {self.plan.host or '127.0.0.1'}"
        tls = ", over TLS" if self.plan.tls else ""
        closed = "; no port is open, llm-atc connect reaches it" if self.plan.private else ""
        return f"a key{tls}, which the relay asks for on every route but /health{closed}"
