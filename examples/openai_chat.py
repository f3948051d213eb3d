"""Ask a question with the `openai` package, and print the answer.

Reads OPENAI_BASE_URL, OPENAI_API_KEY and MODEL from the environment.
"""

from __future__ import annotations

import os
import sys

from openai import OpenAI


def main() -> None:
    """One question, one answer; exit code 1 when there is none."""
    with OpenAI() as client:
        answer = client.chat.completions.create(
            model=os.environ["MODEL"],
            messages=[{"role": "user", "content": "Why is the sky blue?"}],
            max_tokens=64,
        )
    text = answer.choices[0].message.content
    if not text:
        sys.exit("The model answered nothing.")
    print(text)


if __name__ == "__main__":
    main()
