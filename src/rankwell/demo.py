"""`rankwell demo`: the main job on the sample collection, end to end."""

import shutil
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from rankwell.data.config import CONFIG_FILE
from rankwell.data.terminal import err, out, say, shown_progress
from rankwell.indexer.job import index_collection
from rankwell.indexer.starting import config_of_beir, write_config
from rankwell.ranker.commands import print_evaluation
from rankwell.ranker.jobs import train_ranker
from rankwell.ranker.opening import open_collection

SAMPLE = "samples/cranfield"
QUERY = "heat transfer in a hypersonic boundary layer"


def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where the demonstration is built.")
    ] = Path("rankwell-demo"),
) -> None:
    """Index, train, search and evaluate a sample collection, and show what each stage gained."""
    started = time.perf_counter()
    sample = Path(str(files("rankwell.data"))) / SAMPLE
    if not (folder / CONFIG_FILE).exists():
        write_config(folder, config_of_beir(folder, sample))
    err.print("1400 abstracts on aerodynamics (Cranfield), with judged queries")
    with shown_progress() as progress:
        index_collection(folder, progress=progress)
        trained = train_ranker(folder, progress)
    started_as = sys.argv[0] if not sys.argv[0].endswith("__main__.py") else "python -m rankwell"
    command = "rankwell" if shutil.which("rankwell") else started_as
    out.print(f"\n[bold]{QUERY}[/]")
    with open_collection(folder) as collection:
        for hit in collection.search(QUERY, 3).hits:
            say(f"  {hit.rank}. {hit.title}")
        out.print()
        print_evaluation(collection.evaluate("test"))
    say(
        f"lexical: BM25, its settings fitted; dense: vectors trained on these documents; fused: "
        f"both; ranked: the deep ranker, trained on {trained.num_queries} queries that are not in "
        "this table\n"
        f"done in {time.perf_counter() - started:.0f} s. Where to look next:\n"
        f"  {command} search {folder} '{QUERY}' --explain\n"
        f"  {command} serve {folder}\n"
        f"  {command} new my-collection --documents my-documents.jsonl"
    )
