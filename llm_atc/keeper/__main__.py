"""`python -m llm_atc.keeper --engine-port PORT --key-env NAME -- ENGINE ARGS`."""

from __future__ import annotations

import os
import sys

from llm_atc.keeper.config import read_config
from llm_atc.keeper.keeper import Keeper


def main() -> int:
    """Run until the end; the job's exit code."""
    return Keeper(read_config(sys.argv[1:], os.environ)).run()


if __name__ == "__main__":
    sys.exit(main())
