"""One sentence from what SkyPilot says while it fails over: lines as version 0.14.1 writes them."""

from __future__ import annotations

from llm_atc.plan.failover import Failover

TABLE = """\
Running on cluster: two
Considered resources (1 node):
------------------------------------------------------------------------------
 INFRA             INSTANCE      vCPUs   Mem(GB)   GPUS   COST ($)   CHOSEN
------------------------------------------------------------------------------
"""
T4_EAST_1 = " AWS (us-east-1)   g4dn.xlarge   4       16        T4:1   0.53          ✔"
T4_EAST_2 = " AWS (us-east-2)   g4dn.xlarge   4       16        T4:1   0.53          ✔"
L4_NOT_YET = " AWS (us-east-1)   g6.xlarge     4       16        L4:1   0.80"
L4_TAKEN = " AWS (us-east-1)   g6.xlarge   4       16        L4:1   0.80          ✔"
NO_CAPACITY = (
    "W 11-21 05:34:50.224 PID=4489 instance.py:415] create_instances: Attempt failed with An error occurred "
    "(InsufficientInstanceCapacity) when calling the RunInstances operation (reached max retries: 0)"
)


def failed(where: str) -> str:
    return (
        f"sky.exceptions.ResourcesUnavailableError: Failed to acquire resources in all zones in {where} for "
        "{AWS({'L4': 1}, ports=['8000']), AWS({'T4': 1}, ports=['8000'])}."
    )


def note(*lines: str) -> str | None:
    heard = Failover()
    for line in (*TABLE.splitlines(), *lines):
        heard.hear(line)
    return heard.note


def test_the_first_choice_and_the_one_that_is_used_are_both_named() -> None:
    assert note(
        T4_EAST_1, L4_NOT_YET, NO_CAPACITY, failed("us-east-1"), T4_EAST_2, failed("us-east-2"), L4_TAKEN
    ) == (
        "T4:1 on aws/us-east-1, T4:1 on aws/us-east-2 could not be had (no capacity): "
        "L4:1 on aws/us-east-1 is used (g6.xlarge, $0.80 an hour)."
    )


def test_a_first_choice_that_is_had_needs_no_word() -> None:
    assert note() is None
    assert note(T4_EAST_1, L4_NOT_YET, "└── Instance is up.") is None


def test_another_zone_of_the_same_region_needs_no_word() -> None:
    row = " GCP (us-central1-{})   a2-highgpu-1g    12      85        A100:1   3.67          ✔"
    lines = (row.format("a"), failed("us-central1-a"), row.format("b"))
    assert note(*lines) is None
    spot = " GCP (us-central1-a)   g2-standard-24[Spot]   24      96        L4:2     0.70          ✔"
    assert note(*lines, failed("us-central1-b"), spot) == (
        "A100:1 on gcp/us-central1 could not be had: "
        "L4:2 on gcp/us-central1 is used (g2-standard-24, spot, $0.70 an hour)."
    )


def test_many_that_could_not_be_had_are_counted() -> None:
    rows = [line for n in range(5) for line in (T4_EAST_1.replace("us-east-1", f"r-{n}"), failed("there"))]
    assert note(*rows, L4_TAKEN) == (
        "T4:1 on aws/r-0, T4:1 on aws/r-1, T4:1 on aws/r-2 and 2 more could not be had: "
        "L4:1 on aws/us-east-1 is used (g6.xlarge, $0.80 an hour)."
    )
