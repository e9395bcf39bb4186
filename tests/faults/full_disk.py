"""Fills the disk under the batch job: every size from nothing left to just enough.

    python tests/faults/full_disk.py --sizes 200

Where mounting is allowed, a small file system in memory is filled up to a number of free bytes. In
any case the job also runs under limits of the size that a file may reach. After each: the job said
in one sentence what is wrong (exit 4), the old version answers as before, and once there is room
the job makes what an undisturbed one makes.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

from small import Died, Templates, check_resumed, forked, index, settled, templates, workplace

from rankwell.data.errors import Unavailable

PATHS = ("first", "incremental", "full")
DISK_BYTES = 32 << 20


def mounted(folder: Path) -> bool:
    """Returns whether a small file system could be mounted, which ends with this process."""
    if os.environ.get("RANKWELL_OWN_MOUNTS") != "1":
        return False
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    return subprocess.run(command, check=False).returncode == 0


def with_own_mounts() -> None:
    """Starts this program again where its mounts are its own, if that is allowed."""
    for options in (["--mount"], ["--mount", "--user", "--map-root-user"]):
        command = ["unshare", *options]
        if shutil.which("unshare") and not subprocess.run(
            [*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False, capture_output=True
        ).returncode:
            environment = {**os.environ, "RANKWELL_OWN_MOUNTS": "1"}
            again = [*command, sys.executable, "-W", "ignore", *sys.argv]
            os.execvpe("unshare", again, environment)


def job(folder: Path, path: str, file_bytes: int = 0) -> str:
    """Runs the job and returns what it says where it cannot go on."""
    if file_bytes:
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, most))
    try:
        index(folder, path)
    except Unavailable as error:
        return str(error)
    return ""


def one(place: tuple[str, str, int], built: Templates, folder: Path) -> str:
    """Does one fault and checks what is left; returns what was live."""
    path, kind, size = place
    shutil.copytree(built.folders[path], folder)
    filler = folder.parent / "filler"
    try:
        if kind == "disk":
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free - size)
            assert abs(shutil.disk_usage(folder).free - size) < 8192
        said = forked(partial(job, folder, path, size if kind == "file" else 0))
        filler.unlink(missing_ok=True)
        if said:
            assert str(folder) in said, said
            assert "\n" not in said, said
        live = forked(partial(check_resumed, folder, path, built))
        return f"{kind}: {'stopped, ' if said else 'enough, '}{live}"
    finally:
        filler.unlink(missing_ok=True)
        shutil.rmtree(folder)


def places(kind: str, built: Templates, num_sizes: int) -> list[tuple[str, str, int]]:
    """Returns (path, kind, bytes) of each fault, the sizes spread over all that a job needs."""
    version = [file.stat().st_size for file in built.folders["full"].rglob("versions/**/*")]
    most = 2 * sum(-(-size // 4096) * 4096 for size in version) if kind == "disk" else max(version)
    least = most / 10
    sizes = (int(least + number * (most - least) / num_sizes) for number in range(num_sizes))
    return [(PATHS[number % 3], kind, size) for number, size in enumerate(sizes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, default=100, help="of each kind")
    parser.add_argument("--only", metavar="PATH:KIND:BYTES", help="one fault, as failures name it")
    arguments = parser.parse_args()
    num_failed, told = 0, Counter[str]()
    with workplace() as folder:
        built = templates(folder / "templates")
        settled()
        small = folder / "small"
        kinds = ("disk", "file") if mounted(small) else ("file",)
        small.mkdir(exist_ok=True)
        chosen = [place for kind in kinds for place in places(kind, built, arguments.sizes)]
        if arguments.only:
            path, kind, at = arguments.only.split(":")
            chosen = [(path, kind, int(at))]
        for place in chosen:
            try:
                told[one(place, built, small / "one")] += 1
            except (AssertionError, Died) as error:
                num_failed += 1
                line = f"--only {':'.join(map(str, place))}"
                print(f"{error}\nto reproduce: python tests/faults/full_disk.py {line}", flush=True)
        if "disk" in kinds:
            subprocess.run(["umount", str(small)], check=True)
    print(f"{len(chosen)} full disks ({', '.join(kinds)}), {num_failed} failed; {dict(told)}")
    sys.exit(bool(num_failed))


if __name__ == "__main__":
    if "RANKWELL_OWN_MOUNTS" not in os.environ:
        with_own_mounts()
    main()
