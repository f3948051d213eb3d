"""What is installed from the wheel is whole: code, task templates and the engines' option lists."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

ROOT = Path(__file__).parents[2]
LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import llm_atc
from llm_atc.plan.engine import EngineName
from llm_atc.store.engine_options import engine_options
from llm_atc.store.task_templates import load_template
print(json.dumps({
    "from": llm_atc.__file__,
    "templates": [load_template(name)["name"] for name in sys.argv[2:]],
    "options": [len(engine_options(engine).options) > 100 for engine in EngineName],
}))
"""


def test_a_wheel_brings_templates_and_option_lists(tmp_path: Path) -> None:
    build = [find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run([*install, "--python", sys.executable], check=True, capture_output=True)
    names = sorted(path.name for path in (ROOT / "task_templates").glob("*.yaml"))
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOOK, str(site), *names],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert Path(found["from"]).is_relative_to(site)
    assert found["templates"] == ["llm-atc-llama-cpp", "llm-atc-vllm", "llm-atc-vllm-nodes"]
    assert found["options"] == [True, True]
