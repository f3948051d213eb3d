"""`llm-atc accelerators`, and SkyPilot's catalogue behind it: read once, kept, and used without SkyPilot."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

import tests.sky_here  # noqa: F401  (SkyPilot, loaded without the warnings that are its own)
from examples.make_tiny_model import make
from llm_atc.errors import CloudError
from llm_atc.plan.accelerators import Accelerator
from llm_atc.plan.places import Place
from llm_atc.targets import sky_catalog
from llm_atc.targets.catalogue_file import load, save
from llm_atc.targets.sky_catalog import FRESH, SkyCatalog
from tests.fakes import NOON, FakeClock
from tests.offline import llm_atc, offline_environment
from tests.unit.markets import catalogue


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A user who has read SkyPilot's catalogue once; after that there is none any more."""
    home = tmp_path_factory.mktemp("home")
    environment = offline_environment(home)
    done = llm_atc(environment, "accelerators", "T4", "--json")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(home / ".sky" / "catalogs")
    return environment


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make(tmp_path_factory.mktemp("models") / "tiny"))


def test_every_accelerator_is_told_with_its_cheapest_machine(user: dict[str, str]) -> None:
    done = llm_atc(user, "accelerators")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["ACCELERATOR", "WHERE", "MACHINE", "KIND", "$/HOUR", "$/DAY"]
    assert lines[1].split() == ["T4:1", "aws/us-east-1", "g4dn.xlarge", "on", "demand", "0.53", "12.62"]
    assert sum(line.startswith("L4:1 ") for line in lines) == 1
    assert "Prices are SkyPilot's, read " in done.stderr
    assert "Which clouds you may use is not known" in done.stderr


def test_json_has_every_offer_within_the_terms(user: dict[str, str]) -> None:
    words = ("accelerators", "L4:1", "--cloud", "aws", "--region", "us-east-2", "--spot", "--json")
    found = json.loads(llm_atc(user, *words).stdout)
    assert [(one["instance_type"], one["spot"], one["hourly"]) for one in found] == [
        ("g6.xlarge", True, 0.33),
        ("g6.2xlarge", True, 0.4),
        ("g6.xlarge", False, 0.8048),
        ("g6.2xlarge", False, 0.9776),
    ]
    assert found[2] == {
        "accelerator": "L4",
        "count": 1,
        "memory": 22.3516,
        "cloud": "aws",
        "region": "us-east-2",
        "instance_type": "g6.xlarge",
        "spot": False,
        "hourly": 0.8048,
        "daily": 19.3152,
        "fits": None,
        "max_model_len": None,
        "concurrency": None,
        "dollars_per_million_tokens": None,
    }


def test_a_name_without_a_number_is_every_number_that_is_sold(user: dict[str, str]) -> None:
    found = json.loads(llm_atc(user, "accelerators", "a100", "--json").stdout)
    assert {one["count"] for one in found} == {1, 2, 4, 8}
    assert {one["accelerator"] for one in found} == {"A100"}


def test_what_fits_a_model_is_told_with_what_a_million_tokens_cost(user: dict[str, str], tiny: str) -> None:
    words = ("accelerators", "--model", tiny, "--max-price", "1")
    found = json.loads(llm_atc(user, *words, "--json").stdout)
    assert all(one["fits"] and one["dollars_per_million_tokens"] > 0 for one in found)
    assert "$/M TOKENS (ESTIMATE)" in llm_atc(user, *words).stdout
    too_many = llm_atc(user, *words, "--concurrency", "16000", "--json")
    assert {one["accelerator"]: one["fits"] for one in json.loads(too_many.stdout)} == {
        "T4": False,
        "L4": True,
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("A1000",), "No accelerator is called 'A1000'. Did you mean"),
        (("--max-price", "0.1"), "No machine on any cloud costs $0.10 an hour or less"),
        (("--cloud", "awz"), "No cloud is called 'awz'"),
    ],
)
def test_what_is_not_sold_is_told(user: dict[str, str], words: tuple[str, ...], message: str) -> None:
    done = llm_atc(user, "accelerators", *words)
    assert done.returncode in (1, 2)
    assert message in " ".join(done.stderr.split())


def test_prices_that_were_read_are_used_without_skypilot(user: dict[str, str], tiny: str) -> None:
    """In this home there is no catalogue of SkyPilot's any more, and importing SkyPilot fails."""
    poison = Path(user["HOME"]) / "poison" / "sky"
    poison.mkdir(parents=True, exist_ok=True)
    (poison / "__init__.py").write_text("raise RuntimeError('SkyPilot was imported')")
    without = user | {"PYTHONPATH": str(poison.parent)}
    for words in (
        ("accelerators", "--model", tiny),
        ("serve", tiny, "--dry-run", "--accelerator", "auto"),
        ("serve", tiny, "--dry-run", "--accelerator", "L4:1", "--cloud", "aws"),
        ("serve", tiny, "--dry-run", "--accelerator", "L4:1", "--max-price", "0.9"),
    ):
        done = llm_atc(without, *words)
        assert done.returncode == 0, done.stderr


def test_old_prices_are_told_with_their_age_when_newer_ones_cannot_be_had(user: dict[str, str]) -> None:
    file = Path(user["HOME"]) / ".llm-atc" / "catalogue.json"
    kept = file.read_text()
    file.write_text(json.dumps(json.loads(kept) | {"read": time.time() - 3 * 86400}))
    try:
        done = llm_atc(user, "accelerators")
    finally:
        file.write_text(kept)
    assert done.returncode == 0
    assert "T4:1" in done.stdout
    said = " ".join(done.stderr.split())
    assert "read 3 days ago. Newer ones cannot be had: SkyPilot's catalogue" in said


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "new" / "catalogue.json"
    assert load(file) is None
    for found in (catalogue(), catalogue(read=NOON, clouds=("aws",))):
        save(file, found)
        assert load(file) == found
    assert [path.name for path in file.parent.iterdir()] == ["catalogue.json"]
    for broken in ("", "{}", "[]", '{"version": 2}', file.read_text()[:-9]):
        file.write_text(broken)
        assert load(file) is None


def test_a_catalogue_is_read_anew_when_it_is_old_or_lacks_a_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, clock = tmp_path / "catalogue.json", FakeClock()
    reads: list[tuple[str, ...]] = []

    def read(listed: object, wanted: tuple[str, ...], now: float) -> object:
        reads.append(wanted)
        return catalogue(read=now)

    monkeypatch.setattr(sky_catalog, "read_catalogue", read)
    prices = SkyCatalog(file, clock)
    assert prices.kept() is None
    first = prices.read()
    assert prices.read(("aws",)) == first == prices.kept()
    prices.read(("lambda",))
    clock.time += FRESH
    assert prices.read().read == clock.time
    assert reads == [(), ("lambda",), ()]


def test_no_catalogue_at_all_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*asked: object) -> object:
        raise CloudError("There is no network.")

    monkeypatch.setattr(sky_catalog, "read_catalogue", fails)
    prices = SkyCatalog(tmp_path / "catalogue.json", FakeClock())
    with pytest.raises(CloudError, match="There is no network"):
        prices.read()
    save(tmp_path / "catalogue.json", catalogue(read=0.0))
    assert "There is no network" in (prices.read().stale or "")


def test_what_is_sold_is_known_without_skypilot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sky_catalog, "_check", lambda place, accelerator: pytest.fail("SkyPilot was asked"))
    clock = FakeClock()
    save(tmp_path / "catalogue.json", catalogue(read=clock.time))
    prices = SkyCatalog(tmp_path / "catalogue.json", clock)
    assert prices.check(Place(cloud="aws"), Accelerator(name="T4")).exact
