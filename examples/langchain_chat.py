"""Ask a question through LangChain: `pip install langchain-openai`.

Reads OPENAI_BASE_URL, OPENAI_API_KEY and MODEL from the environment.
"""

from __future__ import annotations

import os
import sys

from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI


def main() -> None:
    """One question through a prompt template; exit code 1 when there is no answer."""
    prompt = ChatPromptTemplate.from_messages([("user", "Why is {thing} {colour}?")])
    model = ChatOpenAI(
        model=os.environ["MODEL"],
        base_url=os.environ["OPENAI_BASE_URL"],
        max_completion_tokens=64,
        timeout=120,
    )
    answer = (prompt | model).invoke({"thing": "the sky", "colour": "blue"})
    if not answer.text:
        sys.exit("The model answered nothing.")
    print(answer.text)


if __name__ == "__main__":
    main()
