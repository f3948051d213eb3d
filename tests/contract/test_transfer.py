"""Copying checkpoints: verified, continued after an interruption, and never half a file under its name."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from llm_atc.cli.checkpoints import app
from llm_atc.errors import SourceError, UsageError
from llm_atc.sources.bucket import Address, Sum, SumKind, crc32c, md5, md5_of_parts
from llm_atc.sources.s3 import MIB, S3Bucket
from llm_atc.sources.transfer import Moved, list_checkpoint, pull, push
from tests.source_fixtures import Place, S3Place, closed_port, use_aws

LARGE = bytes(range(251)) * 20_000  # 5 MB, whose chunks differ


def quiet(done: int, total: int, name: str) -> None:
    """Progress that nobody reads."""


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def content_of(directory: Path) -> dict[str, bytes]:
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@pytest.fixture
def checkpoint(model_directory: Path) -> Path:
    """A checkpoint with a folder in it, a file of 5 MB, an empty one, a link and a hidden one."""
    (model_directory / "1_Pooling").mkdir()
    (model_directory / "1_Pooling" / "config.json").write_text("{}")
    (model_directory / "large.safetensors").write_bytes(LARGE)
    (model_directory / "empty.txt").touch()
    (model_directory / "linked.json").symlink_to(model_directory / "config.json")
    (model_directory / ".gitattributes").write_text("hidden")
    return model_directory


def test_what_was_pushed_is_pulled_as_it_was(each_bucket: Place, checkpoint: Path, tmp_path: Path) -> None:
    address = f"{each_bucket.address}/models/tiny"
    told: list[tuple[int, int, str]] = []
    pushed = push(checkpoint, address + "/", lambda *step: told.append(step))
    expected = content_of(checkpoint)
    del expected[".gitattributes"]
    total = sum(map(len, expected.values()))
    assert pushed == Moved(files=len(expected), skipped=0, bytes=total)
    assert told[-1][:2] == (total, total)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert {name for _, _, name in told} == set(expected)
    told.clear()
    pulled = pull(address, tmp_path / "new" / "copy", lambda *step: told.append(step))
    assert content_of(tmp_path / "new" / "copy") == expected
    assert pulled == pushed
    assert told[-1][:2] == (total, total)


def test_the_sha256_of_each_file_is_recorded(each_bucket: Place, checkpoint: Path) -> None:
    push(checkpoint, f"{each_bucket.address}/m", quiet)
    recorded = each_bucket.metadata("m/large.safetensors")
    assert recorded == {"llm-atc-sha256": sha(LARGE)}


def test_a_second_push_sends_only_what_changed(each_bucket: Place, checkpoint: Path) -> None:
    first = push(checkpoint, f"{each_bucket.address}/m", quiet)
    assert push(checkpoint, f"{each_bucket.address}/m", quiet).skipped == first.files
    # The same size, and other content.
    (checkpoint / "large.safetensors").write_bytes(LARGE[::-1])
    again = push(checkpoint, f"{each_bucket.address}/m", quiet)
    assert again.skipped == first.files - 1
    assert each_bucket.get("m/large.safetensors") == LARGE[::-1]


def test_a_second_pull_fetches_only_what_differs(each_bucket: Place, tmp_path: Path) -> None:
    each_bucket.put("m/a", b"first")
    each_bucket.put("m/b/c", b"second")
    assert pull(f"{each_bucket.address}/m", tmp_path, quiet).skipped == 0
    (tmp_path / "a").write_bytes(b"other")
    (tmp_path / "mine").write_bytes(b"stays")
    assert pull(f"{each_bucket.address}/m", tmp_path, quiet).skipped == 1
    assert content_of(tmp_path) == {"a": b"first", "b/c": b"second", "mine": b"stays"}


def test_a_pull_continues_where_it_was_broken_off(each_bucket: Place, tmp_path: Path) -> None:
    each_bucket.put("m/large", LARGE, {"llm-atc-sha256": sha(LARGE)})
    # The first half could not be fetched any more: only its second half can come from the bucket.
    half = len(LARGE) // 2
    (tmp_path / "large.part").write_bytes(LARGE[:half])
    told: list[int] = []
    pull(f"{each_bucket.address}/m", tmp_path, lambda done, total, name: told.append(done))
    assert content_of(tmp_path) == {"large": LARGE}
    assert told[0] == half
    assert told[-1] == len(LARGE)


def test_an_interrupted_pull_leaves_no_file_under_its_name(each_bucket: Place, tmp_path: Path) -> None:
    each_bucket.put("m/large", LARGE)

    def interrupt(done: int, total: int, name: str) -> None:
        if done > total // 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(f"{each_bucket.address}/m", tmp_path, interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["large.part"]
    assert 0 < (tmp_path / "large.part").stat().st_size < len(LARGE)
    pull(f"{each_bucket.address}/m", tmp_path, quiet)
    assert content_of(tmp_path) == {"large": LARGE}


KILLED = """
import os, signal, sys
from pathlib import Path
from llm_atc.sources.transfer import pull, push

def die(done, total, name):
    if done > total // 2:
        os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[1] == "pull":
    pull(sys.argv[2], Path(sys.argv[3]), die)
else:
    push(Path(sys.argv[3]), sys.argv[2], die)
"""


def kill_midway(verb: str, address: str, directory: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, verb, address, str(directory)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_a_killed_pull_is_completed_by_the_next(each_bucket: Place, tmp_path: Path) -> None:
    expected = {f"file{number}": LARGE[: 1_500_000 + number] for number in range(6)}
    for name, content in expected.items():
        each_bucket.put(f"m/{name}", content)
    kill_midway("pull", f"{each_bucket.address}/m", tmp_path)
    left = content_of(tmp_path)
    assert left != expected
    assert all(left[name] == expected[name] for name in left if not name.endswith(".part"))
    pull(f"{each_bucket.address}/m", tmp_path, quiet)
    assert content_of(tmp_path) == expected


def test_a_killed_push_is_completed_by_the_next(each_bucket: Place, tmp_path: Path) -> None:
    expected = {f"file{number}": LARGE[: 1_500_000 + number] for number in range(6)}
    for name, content in expected.items():
        (tmp_path / name).write_bytes(content)
    kill_midway("push", f"{each_bucket.address}/m", tmp_path)
    there = each_bucket.keys()
    assert len(there) < len(expected) + 1
    assert all(each_bucket.get(key) == expected[key.removeprefix("m/")] for key in there)
    push(tmp_path, f"{each_bucket.address}/m", quiet)
    there = each_bucket.keys()
    assert {key: each_bucket.get(key) for key in there} == {
        f"m/{name}": content for name, content in expected.items()
    }


@pytest.mark.parametrize("left", [LARGE[::-1][:1000], LARGE + b"more", LARGE[::-1]])
def test_a_part_of_another_version_is_fetched_from_the_beginning(
    each_bucket: Place, tmp_path: Path, left: bytes
) -> None:
    each_bucket.put("m/large", LARGE)
    (tmp_path / "large.part").write_bytes(left)
    told: list[int] = []
    pull(f"{each_bucket.address}/m", tmp_path, lambda done, total, name: told.append(done))
    assert content_of(tmp_path) == {"large": LARGE}
    assert max(told) == told[-1] == len(LARGE)


def test_an_object_that_is_not_what_was_recorded_is_refused(each_bucket: Place, tmp_path: Path) -> None:
    each_bucket.put("m/large", LARGE, {"llm-atc-sha256": sha(b"something else")})
    with pytest.raises(SourceError, match=r"checksum of .*/m/large is not that of .*large: .*damaged"):
        pull(f"{each_bucket.address}/m", tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_without_a_recorded_sha256_the_cloud_s_own_checksum_is_used(
    each_bucket: Place, tmp_path: Path
) -> None:
    each_bucket.put("m/large", LARGE)
    (tmp_path / "large").write_bytes(LARGE[::-1])
    moved = pull(f"{each_bucket.address}/m", tmp_path, quiet)
    assert (moved.skipped, moved.unverified) == (0, ())
    assert content_of(tmp_path) == {"large": LARGE}


@pytest.mark.parametrize("key", ["m/../../escaped", "m//etc/escaped", "m/..\\\\escaped"])
def test_a_key_that_would_leave_the_directory_is_refused(s3_place: S3Place, tmp_path: Path, key: str) -> None:
    s3_place.put(key, b"x")
    with pytest.raises(SourceError, match="holds a key that is no file's name"):
        pull(f"{s3_place.address}/m", tmp_path / "in", quiet)
    assert list(tmp_path.rglob("escaped")) == []


def test_a_key_that_is_a_file_and_a_folder_is_an_error_that_names_it(
    each_bucket: Place, tmp_path: Path
) -> None:
    each_bucket.put("m/a", b"x")
    each_bucket.put("m/a/b", b"y")
    with pytest.raises(SourceError, match="cannot be read or written"):
        pull(f"{each_bucket.address}/m", tmp_path, quiet)


def test_what_cannot_be_moved_is_said(each_bucket: Place, tmp_path: Path) -> None:
    address = f"{each_bucket.address}/m"
    with pytest.raises(SourceError, match="Nothing lies at"):
        pull(address, tmp_path, quiet)
    with pytest.raises(SourceError, match="holds no files"):
        push(tmp_path, address, quiet)
    with pytest.raises(SourceError, match="There is no directory"):
        push(tmp_path / "absent", address, quiet)
    with pytest.raises(SourceError, match="There is no bucket"):
        pull(f"{each_bucket.scheme}no-such-bucket-4711/m", tmp_path, quiet)
    (tmp_path / "a.part").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"is not complete: a\.part"):
        push(tmp_path, address, quiet)
    with pytest.raises(UsageError, match="not a bucket's address"):
        pull("models/tiny", tmp_path, quiet)


def test_a_push_to_a_bucket_that_is_missing_says_so(each_bucket: Place, checkpoint: Path) -> None:
    with pytest.raises(SourceError, match=r"There is no bucket .*no-such-bucket-4711"):
        push(checkpoint, f"{each_bucket.scheme}no-such-bucket-4711/m", quiet)


def test_listing_names_the_files_below_the_address(each_bucket: Place, checkpoint: Path) -> None:
    push(checkpoint, f"{each_bucket.address}/m", quiet)
    listed = {file.name: file.size for file in list_checkpoint(f"{each_bucket.address}/m/")}
    assert listed == {file.name: file.size for file in list_checkpoint(str(checkpoint))}
    assert listed["large.safetensors"] == len(LARGE)
    assert listed["1_Pooling/config.json"] == 2


# --- S3's uploads in parts


def upload(place: S3Place, path: Path, key: str) -> list[int]:
    """Upload in parts of 5 MiB, and tell which parts were sent."""
    sent: list[int] = []
    bucket = S3Bucket(place.name, patient=True, part_size=5 * MIB)
    # botocore's own hook sees each request: what is counted is what goes over the wire.
    bucket._client.meta.events.register(
        "provide-client-params.s3.UploadPart", lambda params, **_: sent.append(params["PartNumber"])
    )
    try:
        bucket.upload(path, key, sha(path.read_bytes()), lambda _: None)
    finally:
        bucket.close()
    return sent


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A file of two parts and a half."""
    path = tmp_path / "parts"
    path.write_bytes(os.urandom(12 * MIB))
    return path


def begin_upload(place: S3Place, key: str, part: bytes, digest: str) -> None:
    begun = place.client.create_multipart_upload(
        Bucket=place.name, Key=key, Metadata={"llm-atc-sha256": digest}
    )
    place.client.upload_part(Bucket=place.name, Key=key, UploadId=begun["UploadId"], PartNumber=1, Body=part)


def test_a_large_file_goes_in_parts_and_its_tag_is_checked(
    s3_place: S3Place, parts: Path, tmp_path: Path
) -> None:
    assert upload(s3_place, parts, "m/parts") == [1, 2, 3]
    assert s3_place.get("m/parts") == parts.read_bytes()
    assert s3_place.metadata("m/parts") == {"llm-atc-sha256": sha(parts.read_bytes())}
    held = s3_place.client.head_object(Bucket=s3_place.name, Key="m/parts")
    assert held["ETag"].strip('"') == md5_of_parts(parts, 5 * MIB)


def test_parts_that_arrived_are_not_sent_again(s3_place: S3Place, parts: Path) -> None:
    content = parts.read_bytes()
    begin_upload(s3_place, "m/parts", content[: 5 * MIB], sha(content))
    assert upload(s3_place, parts, "m/parts") == [2, 3]
    assert s3_place.get("m/parts") == content
    assert s3_place.client.list_multipart_uploads(Bucket=s3_place.name).get("Uploads", []) == []


def test_an_upload_of_an_earlier_version_is_not_believed(s3_place: S3Place, parts: Path) -> None:
    content = parts.read_bytes()
    begin_upload(s3_place, "m/parts", content[: 5 * MIB], sha(b"an earlier version"))
    upload(s3_place, parts, "m/parts")
    assert s3_place.get("m/parts") == content
    assert s3_place.metadata("m/parts") == {"llm-atc-sha256": sha(content)}


def test_a_tag_of_parts_is_verified_where_no_sha256_was_recorded(
    s3_place: S3Place, parts: Path, tmp_path: Path
) -> None:
    s3_place.client.upload_file(str(parts), s3_place.name, "m/parts")
    bucket = S3Bucket(s3_place.name)
    held = bucket.checksum("m/parts")
    bucket.close()
    assert held is not None
    assert held.kind is SumKind.MD5_PARTS
    assert held.agrees(parts)
    moved = pull(f"{s3_place.address}/m", tmp_path / "copy", quiet)
    assert moved.unverified == ()


def test_an_object_whose_tag_is_no_checksum_is_compared_by_size_and_named(
    s3_place: S3Place, tmp_path: Path
) -> None:
    s3_place.client.put_object(
        Bucket=s3_place.name, Key="m/a", Body=b"content", ServerSideEncryption="aws:kms"
    )
    moved = pull(f"{s3_place.address}/m", tmp_path, quiet)
    assert moved.unverified == ("a",)
    assert content_of(tmp_path) == {"a": b"content"}


# --- values


def test_addresses_are_read_and_printed() -> None:
    for text, shown in (("s3://b", "s3://b"), ("gs://b/p/q/", "gs://b/p/q"), ("s3://b/p", "s3://b/p")):
        assert str(Address.parse(text)) == shown
        assert Address.parse(str(Address.parse(text))) == Address.parse(text)
    for bad in ("b/p", "s3://", "s3:///p", "https://b/p", ""):
        with pytest.raises(UsageError):
            Address.parse(bad)


def test_checksums_are_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"123456789")
    # The check values of the algorithms' own specifications.
    assert crc32c(path) == "e3069283"
    assert md5(path) == "25f9e794323b453885f5181f1b624d0b"
    assert Sum(kind=SumKind.CRC32C, value="e3069283").agrees(path)
    assert not Sum(kind=SumKind.SHA256, value="0" * 64).agrees(path)


# --- the command line


def test_the_commands_print_json_on_stdout_and_progress_on_stderr(
    each_bucket: Place, checkpoint: Path, tmp_path: Path
) -> None:
    address, runner = f"{each_bucket.address}/m", CliRunner()
    pushed = runner.invoke(app, ["push", str(checkpoint), address, "--json"])
    assert pushed.exit_code == 0
    files = len(content_of(checkpoint)) - 1
    answer = json.loads(pushed.stdout)
    assert answer == {
        "from": str(checkpoint),
        "to": address,
        "files": files,
        "bytes": answer["bytes"],
        "skipped": 0,
        "unverified": [],
    }
    assert "Pushing:" in pushed.stderr
    listed = json.loads(runner.invoke(app, ["ls", address, "--json"]).stdout)
    assert listed["address"] == address
    assert listed["bytes"] == answer["bytes"]
    assert {"name": "large.safetensors", "size": len(LARGE)} in listed["files"]
    pulled = runner.invoke(app, ["pull", address, str(tmp_path / "copy")])
    assert f"{tmp_path / 'copy'}: {files} files" in pulled.stdout
    assert "large.safetensors" in runner.invoke(app, ["ls", str(tmp_path / "copy")]).stdout


def test_a_command_that_fails_raises_what_main_translates(own_environment: Path, tmp_path: Path) -> None:
    use_aws(own_environment, closed_port())
    failed = CliRunner().invoke(app, ["ls", "s3://mine/tiny"])
    assert isinstance(failed.exception, SourceError)
    assert isinstance(app, typer.Typer)
