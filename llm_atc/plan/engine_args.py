"""The words that go to an engine, held against the pinned engine's own list before anything starts."""

from __future__ import annotations

from dataclasses import replace

from llm_atc.errors import UsageError
from llm_atc.plan.command_line import option_words, parse_words
from llm_atc.plan.engine import EngineName
from llm_atc.plan.option_checks import check
from llm_atc.plan.options import OptionSet
from llm_atc.plan.plan import Plan


def checked(plan: Plan, known: OptionSet) -> Plan:
    """The plan with the options added that its own need, each told in a note.

    Raises UsageError for what the pinned engine would refuse: unknown options, with the nearest right one,
    wrong types, bad choices and contradictions. An engine of another version is not held against this list;
    of one that the user runs instead of the pinned one, what is wrong by the list is but a note.
    """
    if plan.pin.version != known.version:
        return plan
    try:
        arguments, notes = _completed(plan, plan.arguments, known)
    except UsageError as error:
        if not plan.executable:
            raise
        note = f"{known.title} would refuse this, and {plan.executable[0]} runs instead: {error.message}"
        return replace(plan, notes=(*plan.notes, note))
    sets = tuple(
        replace(one, arguments=_completed(plan, one.arguments, known)[0]) for one in plan.by_accelerator
    )
    return replace(plan, arguments=arguments, by_accelerator=sets, notes=(*plan.notes, *notes))


def _completed(
    plan: Plan, arguments: tuple[str, ...], known: OptionSet
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The arguments with what their own need, and the notes on that."""
    model = (plan.checkpoint,) if plan.engine is EngineName.VLLM else ()  # vLLM wants it to come first
    read = parse_words((*model, *arguments), known)
    found = check(read, known)
    added = {name: value for name, value in found.options.items() if name not in read.options}
    return (*arguments, *option_words(added, known)), found.notes
