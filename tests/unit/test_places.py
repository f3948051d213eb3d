"""Places: this machine and the clouds that SkyPilot knows."""

from __future__ import annotations

import pytest

from llm_atc.errors import UsageError
from llm_atc.plan.places import CLOUDS, Place, read_place
from tests import sky_here


def test_the_clouds_are_skypilots_own() -> None:
    assert set(CLOUDS) == sky_here.clouds()
    assert list(CLOUDS) == sorted(CLOUDS)


def test_every_other_name_that_skypilot_takes_is_taken_here() -> None:
    for alias, cloud in sky_here.cloud_aliases().items():
        assert read_place(alias, None, None).cloud == cloud


@pytest.mark.parametrize(
    ("typed", "cloud"), [("GCP", "gcp"), (" aws ", "aws"), ("k8s", "kubernetes"), ("google", "gcp")]
)
def test_a_cloud_is_read_whatever_its_case(typed: str, cloud: str) -> None:
    assert read_place(typed, None, None) == Place(cloud=cloud)


@pytest.mark.parametrize(
    ("place", "infra"),
    [
        (Place(), None),
        (Place(cloud="gcp"), "gcp"),
        (Place(cloud="gcp", region="us-central1"), "gcp/us-central1"),
        (Place(cloud="gcp", region="us-central1", zone="us-central1-a"), "gcp/us-central1/us-central1-a"),
        (Place(cloud="gcp", zone="us-central1-a"), "gcp/*/us-central1-a"),
        (Place(region="us-east-1"), "*/us-east-1"),
    ],
)
def test_a_place_is_said_as_skypilots_infra(place: Place, infra: str | None) -> None:
    assert place.infra == infra
    assert str(place) == (infra or "any cloud")


def test_local_is_this_machine() -> None:
    place = read_place("local", None, None)
    assert place.local
    assert str(place) == "this machine"


def test_no_cloud_given_is_any_cloud() -> None:
    assert not read_place(None, None, None).local
    assert read_place("", "", "").cloud is None


def test_a_cloud_that_nobody_knows_is_corrected() -> None:
    with pytest.raises(UsageError, match=r"No cloud is called 'gpc'\. Did you mean 'gcp'\?") as caught:
        read_place("gpc", None, None)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("--cloud gcp ")


def test_a_cloud_like_no_other_gets_the_list() -> None:
    with pytest.raises(UsageError) as caught:
        read_place("qqqqq", None, None)
    assert caught.value.hint is not None
    assert all(cloud in caught.value.hint for cloud in ("local", *CLOUDS))


@pytest.mark.parametrize(("region", "zone"), [("us-east-1", None), (None, "us-east-1a")])
def test_this_machine_has_no_regions(region: str | None, zone: str | None) -> None:
    with pytest.raises(UsageError, match="no --region and no --zone"):
        read_place("local", region, zone)
