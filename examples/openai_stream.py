"""Ask a question with the `openai` package, and print the answer as it comes.

Reads OPENAI_BASE_URL, OPENAI_API_KEY and MODEL from the environment.
"""

from __future__ import annotations

import os
import sys

from openai import OpenAI


def main() -> None:
    """One question, its answer in pieces; exit code 1 when none came."""
    pieces = 0
    with OpenAI() as client:
        stream = client.chat.completions.create(
            model=os.environ["MODEL"],
            messages=[{"role": "user", "content": "Why is the sky blue?"}],
            max_tokens=64,
            stream=True,
        )
        for chunk in stream:
            text = chunk.choices[0].delta.content if chunk.choices else None
            if text:
                pieces += 1
                print(text, end="", flush=True)
    print()
    if not pieces:
        sys.exit("The model answered nothing.")


if __name__ == "__main__":
    main()
