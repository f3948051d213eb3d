"""`llm-atc fit`: on which accelerators a model fits, with how long a context, for how many requests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from llm_atc.cli.options import AsJson

if TYPE_CHECKING:
    from llm_atc.plan.accelerators import Accelerator
    from llm_atc.plan.architecture import Dtype
    from llm_atc.plan.fit import Split
    from llm_atc.plan.fit_report import FitReport, Opinion

Option = typer.Option
BAR = 24
# What a bar is made of: weights, the wished-for requests' KV cache, overhead, room for more requests.
MARKS = (("weights", "█"), ("kv", "▓"), ("overhead", "▒"), ("free", "░"))
_DTYPES = {"half": "float16", "float": "float32", "auto": None}


def fit(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="OWNER/NAME on the hub, llm-atc/NAME with --source, or a path."),
    ],
    source: Annotated[
        str | None, Option("--source", help="Where the checkpoint lies: s3://…, gs://… or a directory.")
    ] = None,
    accelerator: Annotated[
        list[str] | None,
        Option("--accelerator", "--accelerators", help="NAME:COUNT; repeatable. The usual ones otherwise."),
    ] = None,
    max_model_len: Annotated[
        int | None, Option("--max-model-len", min=1, help="The context that is wanted, in tokens.")
    ] = None,
    concurrency: Annotated[
        int, Option("--concurrency", min=1, help="So many requests of that length at once.")
    ] = 1,
    dtype: Annotated[
        str | None, Option("--dtype", help="auto, half, float16, bfloat16, float or float32, as for vLLM.")
    ] = None,
    kv_cache_dtype: Annotated[
        str | None, Option("--kv-cache-dtype", help="auto, fp8, float16 or bfloat16, as for vLLM.")
    ] = None,
    tensor_parallel_size: Annotated[
        int | None,
        Option("--tensor-parallel-size", "-tp", min=1, help="GPUs that share each layer: all of them."),
    ] = None,
    pipeline_parallel_size: Annotated[
        int, Option("--pipeline-parallel-size", "-pp", min=1, help="Stages that the layers are dealt out to.")
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Tell where a model fits, before anything is paid for: read from its files' headers, no weights."""
    from dataclasses import replace

    from llm_atc.cli import output
    from llm_atc.plan.fit import Wish
    from llm_atc.plan.fit_report import report
    from llm_atc.plan.model import ModelRef
    from llm_atc.plan.request import read_accelerators
    from llm_atc.sources.tensors import read_facts

    chosen = read_accelerators(accelerator or ())
    wish = Wish(
        max_model_len=max_model_len,
        concurrency=concurrency,
        dtype=_dtype("--dtype", dtype),
        kv=_dtype("--kv-cache-dtype", kv_cache_dtype),
        ranks=tensor_parallel_size,
        stages=pipeline_parallel_size,
    )
    facts = read_facts(ModelRef.parse(model, source))
    found = report(facts.spec.ref.name, facts.architecture, facts.weights, chosen, wish)
    found = replace(found, hourly=_prices())
    if as_json:
        output.print_json(found.facts())
    else:
        _show(found, chosen=bool(chosen))


def _prices() -> dict[Accelerator, float]:
    """The cheapest machine on demand with each accelerator, as prices were read last; none where they never
    were."""
    from llm_atc.bootstrap import catalog
    from llm_atc.plan.market import cheapest, rows
    from llm_atc.plan.offers import Terms
    from llm_atc.settings import Settings

    kept = catalog(Settings.read(os.environ)).kept()
    if kept is None:
        return {}
    found = cheapest(rows(kept.offers, Terms(clouds=kept.clouds)))
    return {row.choice.offer.accelerator: row.choice.hourly for row in found}


def _dtype(flag: str, text: str | None) -> Dtype | None:
    from llm_atc.errors import UsageError
    from llm_atc.plan.architecture import Dtype

    word = _DTYPES.get(text or "auto", text)
    if word is None:
        return None
    if flag == "--kv-cache-dtype" and word.startswith("fp8"):
        return Dtype.FP8
    allowed = [one for one in Dtype if one is not Dtype.FP8]
    if word not in allowed:
        raise UsageError(f"{flag} {text!r} is not one that llm-atc knows.", hint=f"{flag} auto")
    return Dtype(word)


def _show(found: FitReport, *, chosen: bool) -> None:
    """The model's sizes, a table of accelerators, and what would help where it does not fit."""
    from rich.table import Table
    from rich.text import Text

    from llm_atc.cli import output

    console = output.data()
    for line in _head(found):
        console.print(line, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    prices = ("$/HOUR", "$/M TOKENS") if found.hourly else ()
    for heading in ("ACCELERATOR", "FITS", "CONTEXT", "REQUESTS", *prices, "ONE GPU'S MEMORY", "WHY"):
        table.add_column(heading, overflow="fold")
    shown = found.opinions if chosen else _nearest(found.opinions)
    for one in shown:
        word, style = {True: ("yes", "green"), False: ("no", "red"), None: ("unknown", "yellow")}[one.fits]
        table.add_row(
            str(one.accelerator),
            f"[{style}]{word}[/]",
            "" if one.max_model_len is None else str(one.max_model_len),
            "" if one.concurrency is None else str(one.concurrency),
            *(_money(found, one) if prices else ()),
            Text(bar(one.split) if one.split else ""),
            Text(one.reason),
        )
    console.print(table)
    console.print("█ weights  ▓ KV cache  ▒ overhead (estimate)  ░ free for more requests", style="dim")
    if prices:
        console.print("$/M TOKENS is an estimate. Prices and ages: llm-atc accelerators", style="dim")
    if chosen:
        for one in shown:
            for line in (*one.notes, *(f"would help: {option}" for option in one.options)):
                console.print(f"{one.accelerator}: {line}", markup=False)


def _money(found: FitReport, one: Opinion) -> tuple[str, str]:
    from llm_atc.cli.output import cents

    return cents(found.hourly.get(one.accelerator)), cents(found.token_price(one))


def _head(found: FitReport) -> list[str]:
    from llm_atc.plan.fit import gib

    count = found.weights.parameters
    size = gib(found.weights.bytes) + ("" if found.weights.exact else " on disk")
    lines = [
        f"{found.model}: {size} of weights" + (f", {count / 1e9:.2f} billion parameters" if count else "")
    ]
    if found.cache is None:
        return [*lines, f"How much it keeps of what it reads is not known: {found.unknown}."]
    text = f"KV cache: {found.cache.all} bytes for each token"
    if found.cache.windowed:
        text += f", {found.cache.windowed} of them only for the last {found.window}"
    if found.cache.state:
        text += f", and {found.cache.state} for each request"
    return [*lines, text]


def _nearest(opinions: tuple[Opinion, ...]) -> tuple[Opinion, ...]:
    """For each kind of accelerator the smallest number that is enough, or the largest that is not."""
    found: dict[str, Opinion] = {}
    for one in opinions:
        before = found.get(one.accelerator.name)
        if before is None or not before.fits:
            found[one.accelerator.name] = one
    return tuple(found.values())


def bar(split: Split) -> str:
    """Where one GPU's memory goes, as a bar of so many signs; what vLLM leaves alone stays empty."""
    signs = ""
    done = 0
    for name, mark in MARKS:
        done += getattr(split, name)
        signs += mark * (round(BAR * min(1.0, done / max(1, split.total))) - len(signs))
    return f"|{signs.ljust(BAR)}|"
