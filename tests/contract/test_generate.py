"""`llm-atc generate` against a real HTTP server: what is asked, asked again, written, and gone on with."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from llm_atc.batch.asking import Asker, Endpoint
from llm_atc.batch.lines import BatchRequest
from llm_atc.errors import BatchError
from tests.local_fixtures import eventually
from tests.openai_server import Answer, Ask, OpenAIServer
from tests.source_fixtures import closed_port

REQUEST = BatchRequest(custom_id="a", url="/v1/completions", body={"prompt": "Hello"})


def ask(server: str, *, retries: int = 5, timeout: float = 5) -> tuple[Any, list[float]]:
    """The recorded answer to one request, and the waits between its attempts."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def once() -> Any:
        async with Endpoint(url=server, timeout=timeout).client(1) as client:
            return await Asker(client, retries=retries, sleep=sleep).ask(REQUEST)

    return asyncio.run(once()), waits


def test_an_answer_is_recorded_as_openai_s_batches_do() -> None:
    with OpenAIServer(lambda ask: ask.echo()) as server:
        line, waits = ask(server.url)
    assert line["id"].startswith("batch_req_")
    assert (line["custom_id"], line["error"], waits) == ("a", None, [])
    assert (line["response"]["status_code"], line["response"]["request_id"]) == (200, "cmpl-1")
    assert line["response"]["body"]["choices"] == [{"text": "Hello"}]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_asked_again_with_growing_waits(status: int) -> None:
    with OpenAIServer(lambda ask: Answer(status) if ask.attempt < 4 else ask.echo()) as server:
        line, waits = ask(server.url)
    assert line["error"] is None
    assert [0.25 <= waits[0] <= 0.5, 0.5 <= waits[1] <= 1, 1 <= waits[2] <= 2] == [True] * 3


def test_the_server_s_own_word_on_when_to_come_back_is_kept() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100))
    words = ["7", later, "nonsense"]

    def script(ask: Ask) -> Answer:
        if ask.attempt > 3:
            return ask.echo()
        return Answer(429, headers={"Retry-After": words[ask.attempt - 1]})

    with OpenAIServer(script) as server:
        line, waits = ask(server.url)
    assert line["error"] is None
    assert waits[0] == 7
    assert 90 < waits[1] <= 100
    assert 1 <= waits[2] <= 2


def test_a_connection_that_breaks_is_made_again_and_at_last_recorded() -> None:
    with OpenAIServer(lambda ask: Answer(cut=True) if ask.attempt < 3 else ask.echo()) as server:
        assert ask(server.url)[0]["error"] is None
    with OpenAIServer(lambda ask: Answer(cut=True)) as server:
        line, waits = ask(server.url, retries=2)
        assert len(server.asked) == 3
    assert (line["response"], line["error"]["code"], len(waits)) == (None, "connection", 2)


def test_an_answer_that_does_not_come_in_time_is_recorded_so() -> None:
    over = threading.Event()

    def script(ask: Ask) -> Answer:
        over.wait(20)
        return ask.echo()

    with OpenAIServer(script) as server:
        line, _ = ask(server.url, retries=0, timeout=0.2)
        over.set()
    assert (line["response"], line["error"]["code"]) == (None, "timeout")


def test_what_will_not_pass_is_recorded_at_once_with_the_server_s_words() -> None:
    body = {"error": {"message": "max_tokens is too large", "code": 400}}
    with OpenAIServer(lambda ask: Answer(400, body)) as server:
        line, waits = ask(server.url)
    assert line["response"]["body"] == body
    assert (line["error"], waits) == ({"code": "http_400", "message": "max_tokens is too large"}, [])


def test_an_answer_that_is_no_json_is_an_error() -> None:
    with OpenAIServer(lambda ask: Answer(200, b"<html>")) as server:
        line, _ = ask(server.url)
    assert line["response"]["body"] == {"text": "<html>"}
    assert line["error"]["code"] == "not_json"


def test_a_server_that_is_gone_ends_it_and_records_nothing() -> None:
    with pytest.raises(BatchError, match="does not answer"):
        ask(closed_port(), retries=1)


def test_a_key_that_is_refused_ends_it_and_records_nothing() -> None:
    right = OpenAIServer(lambda ask: ask.echo(), key="sk-right")
    with right as server, pytest.raises(BatchError, match="does not accept the key"):
        ask(server.url)


# --- the command


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path


def environment(here: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LLM_ATC_"))}
    return kept | {"HOME": str(here), "LLM_ATC_HOME": str(here / "atc")} | more


def run(here: Path, *words: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """The command, in a folder of its own."""
    return subprocess.run(
        [Path(sys.executable).with_name("llm-atc"), "generate", *words],
        cwd=here, env=environment(here, **env), input=stdin, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


def write(here: Path, count: int) -> list[str]:
    """An input of so many prompts; their ids."""
    lines = [{"custom_id": f"id-{n}", "prompt": f"prompt {n}"} for n in range(count)]
    (here / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [str(line["custom_id"]) for line in lines]


def answers(here: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (here / "out.jsonl").read_text().splitlines()]


FILES = ("-i", "in.jsonl", "-o", "out.jsonl")


def test_every_line_is_answered_with_the_model_that_is_served_and_the_defaults(here: Path) -> None:
    names = write(here, 40)
    with OpenAIServer(lambda ask: ask.echo()) as server:
        done = run(here, f"{server.url}/v1/", *FILES, "--temperature", "0", "--max-tokens", "3", "--json")
        assert done.returncode == 0, done.stderr
        assert {
            (path, body["model"], body["temperature"], body["max_tokens"]) for path, body in server.asked
        } == {("/v1/completions", "tiny", 0, 3)}
    assert sorted(one["custom_id"] for one in answers(here)) == sorted(names)
    for one in answers(here):
        number = one["custom_id"].removeprefix("id-")
        assert one["response"]["body"]["choices"][0]["text"] == f"prompt {number}"
    assert json.loads(done.stdout) == {
        "output": "out.jsonl", "lines": 40, "answered": 40, "before": 0, "failed": 0,
    }  # fmt: skip
    assert "40 lines are answered." in done.stderr


def test_a_second_run_asks_for_nothing_and_a_longer_input_for_the_rest(here: Path) -> None:
    write(here, 5)
    with OpenAIServer(lambda ask: ask.echo()) as server:
        run(here, server.url, *FILES)
        write(here, 7)
        done = run(here, server.url, *FILES)
        assert Counter(body["prompt"] for _, body in server.asked) == {f"prompt {n}": 1 for n in range(7)}
    assert "7 lines are answered, 5 of them before." in done.stderr


def test_failed_lines_are_recorded_counted_and_retried_when_told(here: Path) -> None:
    names = write(here, 6)
    bad = True

    def script(ask: Ask) -> Answer:
        return (
            Answer(400, {"error": {"message": "no"}}) if bad and ask.said.endswith(("2", "4")) else ask.echo()
        )

    with OpenAIServer(script) as server:
        done = run(here, server.url, *FILES)
        assert done.returncode == 1
        assert "2 of 6 lines failed." in done.stderr
        assert f"generate {server.url} -i in.jsonl -o out.jsonl --retry-failed" in done.stderr
        assert [one["error"]["code"] for one in answers(here) if one["error"]] == ["http_400", "http_400"]
        assert run(here, server.url, *FILES).returncode == 1
        assert len(server.asked) == 6
        bad = False
        done = run(here, server.url, *FILES, "--retry-failed")
        assert (done.returncode, len(server.asked)) == (0, 8)
    assert sorted(one["custom_id"] for one in answers(here)) == sorted(names)
    assert not any(one["error"] for one in answers(here))


def test_the_example_s_lines_are_all_asked(here: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "prompts.jsonl"
    with OpenAIServer(lambda ask: ask.echo()) as server:
        assert run(here, server.url, "-i", str(example), "-o", "out.jsonl").returncode == 0
        assert Counter(path for path, _ in server.asked) == {"/v1/chat/completions": 3, "/v1/completions": 1}
    assert len(answers(here)) == len(example.read_text().splitlines())


def test_stdin_and_stdout_make_a_pipe(here: Path) -> None:
    with OpenAIServer(lambda ask: ask.echo()) as server:
        done = run(here, server.url, "-i", "-", "-o", "-", "--system", "Be brief.", stdin='"one"\n"two"')
        assert [body["messages"][0] for _, body in server.asked] == [
            {"role": "system", "content": "Be brief."}
        ] * 2
    assert done.returncode == 0, done.stderr
    said = [json.loads(line)["response"]["body"]["choices"][0]["text"] for line in done.stdout.splitlines()]
    assert sorted(said) == ["one", "two"]


def test_an_answer_comes_out_before_the_next_line_goes_in(here: Path) -> None:
    with OpenAIServer(lambda ask: ask.echo()) as server:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("llm-atc"), "generate", server.url, "-i", "-", "-o", "-"],
            env=environment(here), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            for word in ("one", "two"):
                process.stdin.write(f'"{word}"\n'.encode())
                process.stdin.flush()
                assert word in process.stdout.readline().decode()
            process.send_signal(signal.SIGINT)  # while it waits for a line that never comes
            assert process.wait(20) == 130


def test_what_is_wrong_with_the_input_costs_no_request(here: Path) -> None:
    (here / "in.jsonl").write_text('"fine"\n{"prompt": 1\n')
    with OpenAIServer(lambda ask: ask.echo()) as server:
        done = run(here, server.url, *FILES)
        assert (done.returncode, server.asked) == (1, [])
    assert "Line 2 of the input cannot be asked: it is no JSON" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("nosuch", *FILES), 1, "No deployment is called 'nosuch'"),
        (("http://", *FILES), 2, "is no address"),
        (("http://127.0.0.1:1", "-i", "in.jsonl", "-o", "in.jsonl"), 2, "are the same file"),
        (("http://127.0.0.1:1", "-i", "absent", "-o", "out.jsonl"), 1, "There is no file absent."),
        (("http://127.0.0.1:1", *FILES), 1, "http://127.0.0.1:1 does not answer"),
        (("http://127.0.0.1:1", *FILES, "--temperature", "3"), 2, "3.0 is not in the range 0<=x<=2"),
        (("http://127.0.0.1:1", *FILES, "--api-key", "sk-typed-by-mistake"), 2, "names a variable"),
    ],
)
def test_what_cannot_be_done_is_said(here: Path, words: tuple[str, ...], code: int, says: str) -> None:
    write(here, 1)
    done = run(here, *words)
    assert done.returncode == code, done.stderr
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert "sk-typed" not in done.stderr
    assert not (here / "out.jsonl").exists() or not (here / "out.jsonl").read_text()


def test_of_several_models_one_is_to_be_named(here: Path) -> None:
    write(here, 1)
    with OpenAIServer(lambda ask: ask.echo(), models=("base", "lora")) as server:
        assert "serves base, lora: say which" in run(here, server.url, *FILES).stderr
        assert run(here, server.url, *FILES, "--model", "lora").returncode == 0
    assert answers(here)[0]["response"]["body"]["model"] == "lora"


def test_the_key_of_a_url_comes_from_a_variable_and_is_shown_nowhere(here: Path) -> None:
    write(here, 2)
    with OpenAIServer(lambda ask: ask.echo(), key="sk-right") as server:
        assert "does not accept the key" in run(here, server.url, *FILES).stderr
        assert run(here, server.url, *FILES, OPENAI_API_KEY="sk-right").returncode == 0
        (here / "out.jsonl").unlink()
        done = run(here, server.url, *FILES, "--api-key", "MINE", MINE="sk-right")
    assert done.returncode == 0
    assert "sk-right" not in done.stdout + done.stderr + (here / "out.jsonl").read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_ended_in_the_middle_and_run_again_each_line_is_there_once(
    here: Path, number: signal.Signals
) -> None:
    names = write(here, 300)
    gate = threading.Event()
    count = threading.Semaphore(120)

    def script(ask: Ask) -> Answer:
        if not gate.is_set() and not count.acquire(blocking=False):
            gate.wait(60)
        return ask.echo()

    with OpenAIServer(script) as server:
        with subprocess.Popen(
            [Path(sys.executable).with_name("llm-atc"), "generate", server.url, *FILES],
            cwd=here, env=environment(here), stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            out = here / "out.jsonl"
            eventually(lambda: out.exists() and len(out.read_bytes().splitlines()) >= 120, within=60)
            process.send_signal(number)
            code = process.wait(20)
            assert process.stderr is not None
            said = process.stderr.read()
        gate.set()
        if number is signal.SIGINT:
            assert code == 130
            assert f"Try: llm-atc generate {server.url} -i in.jsonl -o out.jsonl" in said
        with out.open("ab") as file:  # what a kill within a write leaves
            file.write(b'{"id": "batch_req_0", "custom_id": "id-')
        asked = {body["prompt"] for _, body in server.asked}
        done = run(here, server.url, *FILES)
        assert done.returncode == 0, done.stderr
        twice = [
            prompt for prompt, times in Counter(b["prompt"] for _, b in server.asked).items() if times > 1
        ]
    assert sorted(one["custom_id"] for one in answers(here)) == sorted(names)
    assert len(asked) < 300
    assert len(twice) <= 16, "only what was under way is asked again"


def test_memory_does_not_grow_with_the_input(here: Path) -> None:
    """Twenty thousand lines of 4 kB: 80 MB that are never held together."""
    code = (
        "import resource, sys; from llm_atc.cli.main import run\n"
        "try: run(sys.argv[1:])\n"
        "finally: print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )

    def peak(lines: int) -> int:
        with (here / "in.jsonl").open("w") as file:
            for number in range(lines):
                file.write(
                    json.dumps({"custom_id": str(number), "prompt": "x" * 4000, "seed": number}) + "\n"
                )
        (here / "out.jsonl").write_text(
            "".join(
                json.dumps({"id": "batch_req_", "custom_id": str(n), "response": {}, "error": None}) + "\n"
                for n in range(lines - 200)
            )
        )
        with OpenAIServer(lambda ask: ask.echo()) as server:
            done = subprocess.run(
                [sys.executable, "-c", code, "generate", server.url, *FILES],
                cwd=here, env=environment(here), capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert len(server.asked) == 200
        return int(done.stderr.rpartition("peak ")[2])

    assert peak(20_000) - peak(400) < 25_000  # kB
