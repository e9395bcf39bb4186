"""Damages every file of a version: flips a bit, cuts off the end, empties it, takes it away.

    python tests/faults/damage.py --flips 20 --seed 1
    python tests/faults/damage.py --each-kind   # one flip in a file of each kind, no next job

After each: `verify` names the file; whoever opens and searches gets an answer or a sentence, never
a crash of the interpreter; the next job makes what it would have made without the damage, or
refuses and says what to do, and then does it.
"""

import argparse
import random
import shutil
import sys
from collections import Counter
from functools import partial
from pathlib import Path

from small import (
    Died,
    Templates,
    answers,
    forked,
    index,
    outcome,
    settled,
    templates,
    workplace,
)

import rankwell
from rankwell.data.errors import DamagedVersion, RankwellError
from rankwell.data.versions import VersionStore


def damaged(path: Path, how: str) -> None:
    """Damages a file: flip:BIT, cut:BYTES left, or gone."""
    kind, _, number = how.partition(":")
    content = bytearray(path.read_bytes())
    path.unlink()  # other versions may share the file
    if kind == "flip":
        content[int(number) // 8] ^= 1 << int(number) % 8
    elif kind == "cut":
        del content[int(number) :]
    if kind != "gone":
        path.write_bytes(content)


def searched(folder: Path) -> str:
    """Opens the collection, and reads and searches what it can."""
    try:
        collection = rankwell.open(folder)
    except RankwellError:
        return "refused"
    try:
        list(collection.documents)
        collection.neighbours("word3")
        collection.search("word3", filter={"year": {"gte": 1930}})
        answers(folder)
    except BaseException as error:  # whatever a library says is better than a crash
        return type(error).__name__
    return "answered"


def named(folder: Path, file: str) -> str:
    """Returns what `verify` says, which must name the file."""
    try:
        VersionStore(folder).verify()
    except DamagedVersion as error:
        return "" if file in str(error) else f"verify does not name {file}: {error}"
    return f"verify does not notice {file}"


def next_job(folder: Path, built: Templates) -> str:
    """Runs the next job, and what it says to do where it refuses."""
    try:
        report = index(folder, "incremental")
    except RankwellError as error:
        if "--full" not in str(error):
            raise
        assert VersionStore(folder).names() == ["000001"]
        assert index(folder, "full").published
        assert outcome(folder) == built.after["full"], "the full job made something else"
        return "full"
    assert report.published
    assert outcome(folder) == built.after["incremental"], "damage was passed on as sound"
    return "as without"


def one(place: tuple[str, str], built: Templates, folder: Path, with_job: bool = True) -> str:
    """Damages one file and checks, also the next job if asked; returns how it ended."""
    file, how = place
    shutil.copytree(built.folders["incremental"], folder)
    try:
        damaged(folder / "versions" / "000001" / file, how)
        problem = forked(partial(named, folder, file))
        assert not problem, problem
        found = forked(partial(searched, folder))
        if not with_job:
            return str(found)
        return f"{found}, then {forked(partial(next_job, folder, built))}"
    finally:
        shutil.rmtree(folder)


def places(built: Templates, flips: int, seed: int) -> list[tuple[str, str]]:
    """Returns (file, damage) for every file of a version."""
    chance = random.Random(seed)
    version = built.folders["incremental"] / "versions" / "000001"
    found = []
    for path in sorted(path for path in version.rglob("*") if path.is_file()):
        file, size = path.relative_to(version).as_posix(), path.stat().st_size
        bits = chance.choices(range(8 * size), k=flips) if size else []
        kinds = [f"flip:{bit}" for bit in bits]
        cuts = {size - 2, size // 2, 0} if size else set()
        found += [(file, kind) for kind in [*kinds, *(f"cut:{at}" for at in cuts), "gone"]]
    return found


def kind_of(file: str) -> str:
    """Returns what a file is: its path, or its suffix among those whose names are by chance."""
    return f"lexical/*{Path(file).suffix}" if file.startswith("lexical/") else file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--flips", type=int, default=5, help="of each file")
    parser.add_argument("--file", default="", help="damage only files with this in their path")
    parser.add_argument("--each-kind", action="store_true", help="one flip, and no next job")
    parser.add_argument("--most", type=int, help="faults, drawn from all of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="FILE@DAMAGE", help="one fault, as failures name it")
    arguments = parser.parse_args()
    num_failed, told = 0, Counter[str]()
    with workplace() as folder:
        built = templates(folder / "templates")
        settled()
        chosen = places(built, arguments.flips, arguments.seed)
        chosen = [place for place in chosen if arguments.file in place[0]]
        if arguments.each_kind:
            flips = {kind_of(file): (file, how) for file, how in chosen if how.startswith("flip")}
            chosen = list(flips.values())
        if arguments.most:
            chosen = random.Random(arguments.seed).sample(chosen, arguments.most)
        if arguments.only:
            file, _, how = arguments.only.partition("@")
            chosen = [(file, how)]
        for place in chosen:
            try:
                told[one(place, built, folder / "one", not arguments.each_kind)] += 1
            except (AssertionError, Died) as error:
                num_failed += 1
                line = f"--only {'@'.join(place)}"
                print(f"{error}\nto reproduce: python tests/faults/damage.py {line}", flush=True)
    print(f"{len(chosen)} files damaged, {num_failed} failed; {dict(told)}")
    sys.exit(bool(num_failed))


if __name__ == "__main__":
    main()
