"""Whether an account may have a machine at all, and what is said where nobody knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llm_atc import launcher
from llm_atc.errors import AtcError
from llm_atc.outlook import look
from llm_atc.plan.preflight import Finding, Grade
from llm_atc.plan.quota import Allowance, quotas
from tests.fakes import Fakes
from tests.unit.serving import CLOUD, HERE, yes

NONE = Allowance(machine="g6.xlarge", region="us-east-1", code="L-DB2E81BA", need=4, have=0)
EXACT = replace(NONE, have=4)
UNTOLD = Allowance(machine="L4:1")


def grades(*found: Allowance) -> list[Grade]:
    return [one.grade for one in quotas(found)]


def test_a_quota_that_leaves_nothing_to_try_is_refused_with_what_raises_it() -> None:
    (found,) = quotas((NONE,))
    assert found == Finding(
        check="quota",
        grade=Grade.REFUSED,
        says="The account may run 0 vCPUs of this kind in us-east-1, and g6.xlarge takes 4.",
        cure="aws service-quotas request-service-quota-increase --service-code ec2 "
        "--quota-code L-DB2E81BA --desired-value 4 --region us-east-1",
    )


def test_while_something_else_can_be_tried_it_is_a_warning() -> None:
    assert grades(NONE, EXACT) == grades(NONE, UNTOLD) == [Grade.WARNING]
    assert grades(NONE, replace(NONE, region="us-east-2")) == [Grade.REFUSED, Grade.REFUSED]


def test_enough_is_enough_and_what_nobody_told_is_unknown() -> None:
    assert grades(EXACT, UNTOLD) == [Grade.OK]
    assert grades(UNTOLD) == grades() == [Grade.UNKNOWN]


def test_no_machine_is_launched_that_the_account_may_not_have(fakes: Fakes) -> None:
    fakes.cloud.quotas = (NONE,)
    with pytest.raises(AtcError, match="may run 0 vCPUs"):
        launcher.serve(fakes.world, CLOUD, fakes.report, confirm=yes, order=yes)
    assert fakes.cloud.did() == []


def test_only_a_launch_in_a_cloud_asks_for_quotas(fakes: Fakes) -> None:
    fakes.cloud.quotas = (NONE,)
    for found in (look(fakes.world, CLOUD, ask=False), look(fakes.world, HERE)):
        assert "quota" not in {one.check for one in found.findings}
