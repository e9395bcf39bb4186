"""Fills the disk under the batch job, in two ways.

    python tests/faults/full_disk.py --sizes 300

Where mounting is allowed, a small file system in memory has so many pages left, from next to none
to more than enough. In any case, from each of the job's file-system steps on no file may grow.
After each: the job said in one sentence what is wrong (exit 4), the old version answers as before,
and once there is room the job makes what an undisturbed one makes. A third of the jobs at least
must have stopped, or nothing was shown.
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

from kill import Steps, counted, watch
from small import Died, Templates, check_resumed, forked, index, settled, templates, workplace

from rankwell.data.errors import Unavailable

PATHS = ("first", "incremental", "full")
DISK_BYTES = 32 << 20
PAGE_BYTES = 4096


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
        if (
            shutil.which("unshare")
            and not subprocess.run(
                [*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
                check=False,
                capture_output=True,
            ).returncode
        ):
            environment = {**os.environ, "RANKWELL_OWN_MOUNTS": "1"}
            again = [*command, sys.executable, "-W", "ignore", *sys.argv]
            os.execvpe("unshare", again, environment)


def without_growth() -> None:
    """Lets no file of this process grow any more."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, most))


def job(folder: Path, path: str, full_at: int = -1) -> str:
    """Runs the job and returns what it says where it cannot go on."""
    if full_at >= 0:
        watch(Steps(full_at, without_growth))
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
        said = forked(partial(job, folder, path, size if kind == "step" else -1))
        filler.unlink(missing_ok=True)
        if said:
            assert str(folder) in said, said
            assert "\n" not in said, said
        live = forked(partial(check_resumed, folder, path, built))
        return f"{kind}: {'stopped, ' if said else 'enough, '}{live}"
    finally:
        filler.unlink(missing_ok=True)
        shutil.rmtree(folder)


def places(kind: str, built: Templates, num: int, folder: Path) -> list[tuple[str, str, int]]:
    """Returns (path, kind, place) of each fault, spread over all that a job writes."""
    found = []
    for path in PATHS:
        if kind == "disk":
            version = [file.stat().st_size for file in built.folders["full"].rglob("00*/**/*")]
            most = 2 * sum(-(-size // PAGE_BYTES) * PAGE_BYTES for size in version)
        else:
            shutil.copytree(built.folders[path], folder)
            most = len(forked(partial(counted, folder, path, ""))[0])
            shutil.rmtree(folder)
        found += [(path, kind, number * most // num) for number in range(num)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, default=99, help="of each kind")
    parser.add_argument("--only", metavar="PATH:KIND:PLACE", help="one fault, as failures name it")
    arguments = parser.parse_args()
    num_failed, told = 0, Counter[str]()
    with workplace() as folder:
        built = templates(folder / "templates")
        settled()
        small = folder / "small"
        kinds = ("disk", "step") if mounted(small) else ("step",)
        small.mkdir(exist_ok=True)
        chosen = [
            place
            for kind in kinds
            for place in places(kind, built, arguments.sizes // 3, small / "one")
        ]
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
    if not arguments.only:
        for kind in kinds:
            num_jobs = sum(place[1] == kind for place in chosen)
            num_stopped = sum(n for what, n in told.items() if what.startswith(f"{kind}: stopped"))
            if 3 * num_stopped < num_jobs:
                num_failed += 1
                print(f"{kind}: only {num_stopped} of {num_jobs} jobs were stopped")
    print(f"{len(chosen)} full disks ({', '.join(kinds)}), {num_failed} failed; {dict(told)}")
    sys.exit(bool(num_failed))


if __name__ == "__main__":
    if "RANKWELL_OWN_MOUNTS" not in os.environ:
        with_own_mounts()
    main()
