from __future__ import annotations
import time
from tests.cloud.client import SimulatedRegion

TASK = """
name: web
resources: {infra: aws/us-east-1, cpus: 2+, ports: 8000}
run: |
  echo hello > index.html
  exec python3 -u -m http.server 8000
"""


def test_launch(region: SimulatedRegion) -> None:
    t = time.time()
    (region.home / "web.yaml").write_text(TASK)
    print(region.run("sky", "launch", "-y", "-d", "-c", "web", "web.yaml").stdout[-1500:], time.time() - t)
    print(region.instances(), region.run("sky", "status", "--endpoint", "8000", "web").stdout)
    print(region.log_path.read_text())
    t = time.time()
    region.run("sky", "down", "-y", "web")
    print("down", time.time() - t)
    print(region.log_path.read_text())
