"""Durations and sums, as a person reads them."""

from __future__ import annotations


def span(seconds: float) -> str:
    """`90` → `90 seconds`, `5400` → `90 minutes`, `28800` → `8 hours`."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f}".removesuffix(".0") + " hours"


def dollars(amount: float) -> str:
    """`20` → `$20.00`."""
    return f"${amount:.2f}"
