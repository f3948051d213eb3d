"""What `serve` shows before it asks for money, and which machines it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llm_atc import launcher
from llm_atc.cli.foretold import screen, tell
from llm_atc.cli.plan_lines import lines
from llm_atc.errors import Declined
from llm_atc.outlook import Outlook, look
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.market import Row, ahead
from llm_atc.plan.offers import Terms
from llm_atc.plan.places import Place
from llm_atc.plan.request import Request
from llm_atc.ports import Quote
from tests.fakes import NOON, Fakes
from tests.unit.markets import OFFERS, catalogue
from tests.unit.serving import CLOUD, no, yes
from tests.unit.test_fit import LLAMA_7B, model, weights

L4, A100 = Accelerator(name="L4"), Accelerator(name="A100")
GCP = Request(model="org/llama", name="demo", place=Place(cloud="gcp"), accelerators=(L4,))


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    found = Fakes(folder=tmp_path)
    found.models.architecture, found.models.weights = model(LLAMA_7B), weights(LLAMA_7B)
    found.catalog.catalogue = catalogue(read=NOON - 600)
    return found


def shown(fakes: Fakes, request: Request, capsys: pytest.CaptureFixture[str]) -> list[str]:
    screen(fakes.world, request)(look(fakes.world, request), Quote(resources="gcp L4:1", hourly=0.71))
    out, err = capsys.readouterr()
    assert out == ""
    return [line.rstrip() for line in err.splitlines()]


def test_one_screen_tells_what_it_costs_and_whether_it_fits(
    fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    said = shown(fakes, GCP, capsys)
    labels = dict(line.split(maxsplit=1) for line in said)
    assert labels["Verdict"] == "will start"
    assert labels["Model"].startswith("org/llama, hugging-face")
    assert labels["Engine"].startswith("vllm 0.32.0 --served-model-name org/llama")
    assert labels["Machine"] == "gcp L4:1 for $0.71 an hour ($17.04 a day)"
    assert labels["Protection"].startswith("a key")
    assert labels["Stops"] == "It stops by itself after 30 minutes without a request."
    assert labels["Prices"] == "read 10 min ago"
    assert [line.split() for line in said[-2:]] == [
        ["ACCELERATOR", "WHERE", "MACHINE", "KIND", "$/HOUR", "FITS", "CONTEXT", "REQUESTS"],
        ["L4:1", "gcp/us-central1", "g2-standard-4", "on", "demand", "0.71", "yes", "4096", "3"],
    ]
    assert len(said) < 24, "one screen"


def test_without_prices_the_checks_tell_what_fits(fakes: Fakes, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.catalog.catalogue = None
    said = shown(fakes, GCP, capsys)
    assert any(line.startswith("Fit         L4:1: ") for line in said)
    assert not any(line.startswith("ACCELERATOR") for line in said)


def test_what_ends_a_machine_that_nobody_sells_is_not_known(fakes: Fakes) -> None:
    auto = replace(GCP, accelerators=(), max_price=0.01)
    told = tell(fakes.world, auto, look(fakes.world, auto, ask=False)).json()
    assert (told["starts"], told["stops"]) == (False, None)
    assert "Stops" not in dict(lines(told))


def test_it_is_shown_before_the_question_and_nothing_is_started_at_a_no(fakes: Fakes) -> None:
    events: list[str] = []

    def show(found: Outlook, quote: Quote) -> None:
        events.append(f"shown {quote.hourly}")

    def order(question: str) -> None:
        events.append("asked")
        no(question)

    with pytest.raises(Declined):
        launcher.serve(fakes.world, CLOUD, fakes.report, confirm=yes, order=order, show=show)
    assert events == ["shown 1.5", "asked"]
    assert fakes.cloud.did() == []


def test_machines_are_told_in_the_order_in_which_they_are_tried(fakes: Fakes) -> None:
    named = replace(GCP, accelerators=(A100, L4), spot=True)
    told = tell(fakes.world, named, look(fakes.world, named, ask=False))
    assert [kind(row) for row in told.rows] == [
        ("A100:1", True),
        ("A100:1", False),
        ("L4:1", True),
        ("L4:1", False),
    ]
    assert all(row.fits and row.per_million for row in told.rows)
    auto = replace(GCP, accelerators=())
    cheapest = tell(fakes.world, auto, look(fakes.world, auto, ask=False)).rows
    assert [row.choice.hourly for row in cheapest] == sorted(row.choice.hourly for row in cheapest)


def test_no_accelerator_hides_another() -> None:
    terms = Terms(accelerators=(L4, A100))
    dear = [replace(one, region=f"r{number}") for one in OFFERS for number in range(9)]
    rows = ahead((), dear, terms, None, 6)
    assert [kind(row)[0] for row in rows] == ["L4:1"] * 3 + ["A100:1"] * 3


def kind(row: Row) -> tuple[str, bool]:
    return (str(row.choice.offer.accelerator), row.choice.spot)
