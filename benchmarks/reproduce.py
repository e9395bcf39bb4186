"""Builds the tables of docs/results.md: every collection, every stage, and what each stage gained.

    python benchmarks/reproduce.py [--quick] [BEIR_FOLDER ...]

Without folders: the Cranfield sample, and the development collections where RANKWELL_DATA has them;
--quick runs the sample alone. The tables stand between two markers in docs/results.md, the same
figures in docs/results.json, which a test compares with. The last line of the output is one JSON
object.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("RANKWELL_DATA", REPOSITORY.parent / "shared" / "data"))
SAMPLE = REPOSITORY / "data" / "samples" / "cranfield"
COLLECTIONS = ("scifact", "cisi", "cacm", "vaswani")
COMMAND = Path(sys.executable).parent / "rankwell"
REFUSED = 3  # a command's exit code where the release gate kept the live version
MEASURES = ("nDCG@10", "AP", "RR@10", "R@100")
LIBRARIES = ("numpy", "torch", "faiss-cpu", "tantivy", "numba", "ir_measures")
PAGE = REPOSITORY / "docs" / "results.md"
FIGURES = REPOSITORY / "docs" / "results.json"
BEGIN, END = "<!-- reproduce: begin -->", "<!-- reproduce: end -->"


def rankwell(*arguments: str | Path) -> str:
    """Runs a rankwell command and returns what it prints."""
    done = subprocess.run([COMMAND, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def train(folder: Path) -> int:
    """Trains a ranker; returns how many queries it learnt from, 0 where the gate refused it."""
    try:
        trained = json.loads(rankwell("train", "ranker", folder, "--json"))
    except subprocess.CalledProcessError as error:
        if error.returncode != REFUSED:
            raise
        return 0
    return int(trained["num_queries"])


def measured(beir: Path, scratch: Path) -> dict[str, Any]:
    """Builds, trains and measures a collection; each stage is tested against the one before it."""
    folder = scratch / beir.name
    rankwell("new", folder, "--beir", beir)
    rankwell("index", folder)
    lexical = ("--stages", "lexical", "--measures", " ".join(MEASURES), "--json")
    configured = json.loads(rankwell("evaluate", folder, *lexical))["measures"]["lexical"]
    trained_on = train(folder)
    evaluation = json.loads(
        rankwell("evaluate", folder, "--measures", " ".join(MEASURES), "--json")
    )
    gains = {}
    for before, after in (("lexical", "dense"), ("lexical", "fused"), ("fused", "ranked")):
        compared = json.loads(rankwell("compare", folder, before, after, "--json"))
        test = compared["contrasts"][0]["test"]
        gains[after] = {
            "against": before,
            "difference": test["difference"],
            "p": test["p_randomisation"],
        }
    print(f"{beir.name}: {evaluation['measures']}", flush=True)
    return {
        "num_queries": evaluation["num_queries"],
        "trained_on": trained_on,
        "configured_lexical": configured,
        "measures": evaluation["measures"],
        "gains": gains,
    }


def table(name: str, figures: dict[str, Any]) -> str:
    """Returns the Markdown table of one collection."""
    learnt = (
        f"the ranker learnt from {figures['trained_on']}, and BM25's k1 and b and the fusion's "
        "weight where that surely helped"
        if figures["trained_on"]
        else "the release gate refused the trained ranker, so that the one that ships stays"
    )
    lines = [
        f"### {name}",
        "",
        f"{figures['num_queries']} test queries; {learnt}. BM25 as configured: "
        + ", ".join(f"{name} {figures['configured_lexical'][name]:.4f}" for name in MEASURES)
        + ".",
        "",
        "| stage | " + " | ".join(MEASURES) + " | nDCG@10 gained | p |",
        "|---|" + "---|" * (len(MEASURES) + 2),
    ]
    for stage, values in figures["measures"].items():
        cells = [f"{values[measure]:.4f}" for measure in MEASURES]
        gain = figures["gains"].get(stage)
        if gain is None:
            cells += ["", ""]
        else:
            low, mean, high = (gain["difference"][part] for part in ("low", "mean", "high"))
            interval = f"{mean:+.4f} ({low:+.4f} to {high:+.4f}) on {gain['against']}"
            cells += [interval, f"{gain['p']:.4f}"]
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(figures: dict[str, Any]) -> str:
    """Returns the generated part of the results page."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True
    ).stdout.strip()
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    intro = (
        f"## Quality by stage, {datetime.now(UTC):%Y-%m-%d}\n\n"
        f"Commit {commit}, seed 0, {os.cpu_count()} cores ({platform.machine()}), Python "
        f"{platform.python_version()}, {libraries}. Settings are the defaults everywhere; no "
        "setting and no training saw the test queries. Each cell is made again by\n\n"
        "```\nrankwell new X --beir FOLDER; rankwell index X; rankwell train ranker X\n"
        f'rankwell evaluate X --measures "{" ".join(MEASURES)}"\n'
        "rankwell compare X lexical fused\nrankwell compare X fused ranked\n```\n\n"
        "and the whole by `make reproduce`. Gains have 95% bootstrap intervals; p is that of the "
        "paired randomisation test, uncorrected."
    )
    return "\n\n".join([intro, *(table(name, of) for name, of in figures.items())])


def main() -> None:
    """Runs all, writes the page and prints the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the Cranfield sample alone; no page")
    parser.add_argument("folders", nargs="*", type=Path, help="folders in BEIR's form")
    options = parser.parse_args()
    folders = options.folders or [SAMPLE]
    if not options.folders and not options.quick:
        folders += [DATA / name for name in COLLECTIONS if (DATA / name).is_dir()]
    with tempfile.TemporaryDirectory() as scratch:
        figures = {folder.name: measured(folder, Path(scratch)) for folder in folders}
    if not options.quick:
        text = PAGE.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n\n{page(figures)}\n\n{END}{after}", encoding="utf-8")
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
