"""The main job on this machine, whole: make a small model, serve it with vLLM, ask it, and say how to end it.

    make quickstart

The model is made here from random weights, so that it needs no hub: its answer is noise, and everything
around the answer is real.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from make_tiny_model import make
from openai import OpenAI

NAME = "quickstart"
# A model this small answers at once: compiling it for this machine first would take longer than it saves.
QUICK = ("--", "--enforce-eager")
HOME = Path.home() / ".llm-atc" / "quickstart"


def llm_atc(*arguments: str) -> str:
    """Run a command of llm-atc as a user would, and return what it printed as data."""
    print("$ llm-atc", *arguments, flush=True)
    return subprocess.run(["llm-atc", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """Serve, ask, and show the way out."""
    model = HOME / "tiny-llama"
    make(model)
    print(f"A small model lies in {model}.")
    llm_atc("serve", "--name", str(model), "-c", NAME, "--cloud", "local", "--yes", "--json", *QUICK)
    endpoint = json.loads(llm_atc("endpoint", NAME, "--json"))

    client = OpenAI(base_url=endpoint["base_url"], api_key=endpoint["api_key"])
    question = "What does an air traffic controller do?"
    print(f"\nYou:   {question}\nModel: ", end="", flush=True)
    stream = client.chat.completions.create(
        model=endpoint["model"],
        messages=[{"role": "user", "content": question}],
        max_tokens=24,
        stream=True,
    )
    pieces = 0
    for chunk in stream:
        text = chunk.choices[0].delta.content or "" if chunk.choices else ""
        pieces += bool(text)
        print(text, end="", flush=True)
    client.close()
    if not pieces:
        sys.exit("\nThe model answered nothing.")
    print(f"\n\n(Random weights answer noise; the server is real.)\nEndpoint: {endpoint['base_url']}")
    print(f"Ask again: {llm_atc('endpoint', NAME, '--curl').strip()}")
    print(f"Stop it:   llm-atc stop {NAME}\nRemove it: llm-atc down {NAME} --yes")
    print("Next:      llm-atc serve --name Qwen/Qwen3-0.6B --cloud local")


if __name__ == "__main__":
    main()
