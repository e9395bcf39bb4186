"""Making the ranker that ships: `make pretrain`.

    python -m rankwell.ranker.pretraining [--data FOLDER] [--out FOLDER]

It learns from Cranfield's training judgments, and from queries made of documents alone: the title
of a Wikipedia introduction or article, or the one line that sums up a Debian package, asks for the
document without it. A made query whose document is not among its first 100 is left out: it asks for
something else. All of them are collections in BEIR's form, built and searched like any other. What
the table of the card says is written here too.
"""

import argparse
import gzip
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path

from rankwell.data.config import Config, RankerConfig, load_config
from rankwell.data.progress import Progress, silent
from rankwell.data.readers import read_queries
from rankwell.data.terminal import err, shown_progress
from rankwell.indexer.job import index_collection
from rankwell.indexer.starting import config_of_beir, write_config
from rankwell.ranker.examples import examples_of
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.learning import TRUSTED_MIX, Example, pretrain
from rankwell.ranker.made_queries import found_again, made_collection, training_queries
from rankwell.ranker.model import EnsembleNetwork
from rankwell.ranker.pretrained import LEARNT, query_hash
from rankwell.ranker.rankers import ANY_ENCODER, QUERY_PLACES, DeepRanker

RECIPE = RankerConfig(hidden=(32,), dropout=0.2, learning_rate=2e-3, weight_decay=0.05, folds=5)
EPOCHS = 5
SEED = 0
CARD = "card.md"
SOURCES = {  # with their licences, as the card's table has them
    "cranfield": "Cranfield, the training judgments of `data/samples/cranfield` | public test "
    "collection",
    "wikipedia": "introductions of Wikipedia articles (`data/samples/wikipedia`): an article's "
    "title asks for its introduction | CC BY-SA 4.0, Wikipedia contributors",
    "debian": "descriptions of Debian packages (bookworm, main): the line that sums a package up "
    "asks for the rest | free, per package",
    "articles": "articles of the English Wikipedia: the title asks for the whole of it | CC BY-SA, "
    "Wikipedia contributors",
}


def examples_of_beir(beir: Path, folder: Path, progress: Progress = silent) -> list[Example]:
    """Returns the training queries of a collection in BEIR's form, as the ranker learns from them.

    Args:
        beir: the collection.
        folder: where it is built, unless it is already.
        progress: told how far each step is.
    """
    if not folder.exists():
        write_config(folder, config_of_beir(folder, beir))
        index_collection(folder, progress=progress)
    config = load_config(folder)
    with training_queries(folder, progress) as found:
        return examples_of(found, FirstStageFit.configured(config), config, progress)


def pretrained_network(
    sources: Iterable[list[Example]], progress: Progress = silent
) -> EnsembleNetwork:
    """Returns the ensemble that the recipe makes of some collections' queries."""
    return pretrain(list(sources), RECIPE, EPOCHS, SEED, progress, query_features=QUERY_PLACES)


def _records(folder: Path, separator: str = "") -> Iterator[tuple[str, str, str]]:
    """Yields what `made_collection` takes; the title counts from behind a separator on."""
    for path in sorted(folder.glob("corpus*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                title = record["title"].split(separator, 1)[-1] if separator else record["title"]
                if title.strip():
                    yield record["_id"], title.strip(), record["text"]


def _with_table(card: str, learnt: Mapping[str, int]) -> str:
    """Returns a card with what was learnt from in its table."""
    rows = [f"| {SOURCES[name]} | {queries} |\n" for name, queries in learnt.items()]
    head, rest = card.split("|---|---|---|\n", 1)
    behind = rest[rest.index("\n\n") + 1 :]
    return f"{head}|---|---|---|\n{''.join(rows)}{behind}"


def main() -> None:
    """Makes the ranker and writes it with the facts that its card needs."""
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path(__file__).resolve().parent.parent
    parser.add_argument("--data", type=Path, default=os.environ.get("RANKWELL_DATA"))
    parser.add_argument("--out", type=Path, default=root / "ranker" / "pretrained")
    options = parser.parse_args()
    samples = Path(str(files("rankwell.data"))) / "samples"
    with tempfile.TemporaryDirectory() as temporary, shown_progress() as progress:
        scratch = Path(temporary)
        records = {"wikipedia": _records(samples / "wikipedia")}
        if options.data:
            records["debian"] = _records(options.data / "debian-packages", ": ")
            records["articles"] = _records(options.data / "enwiki")
        made = {name: made_collection(of, scratch / f"{name}-made") for name, of in records.items()}
        sources = {"cranfield": examples_of_beir(samples / "cranfield", scratch / "cranfield")}
        for name, beir in made.items():
            sources[name] = found_again(examples_of_beir(beir, scratch / name, progress))
        network = pretrained_network(sources.values(), progress)
    ranker = DeepRanker(network, FirstStageFit.configured(Config()), TRUSTED_MIX, ANY_ENCODER)
    ranker.save(options.out)
    learnt = {e.query_id for e in sources["cranfield"] if e.labels_K.max(initial=0) > 0}
    queries = read_queries(samples / "cranfield" / "queries.jsonl")
    hashes = sorted(query_hash(query.text) for query in queries if query.query_id in learnt)
    (options.out / LEARNT).write_text(json.dumps(hashes, indent=1) + "\n")
    card = (root / "ranker" / "pretrained" / CARD).read_text(encoding="utf-8")
    numbers = {
        name: sum(bool(e.labels_K.max(initial=0) > 0) for e in of) for name, of in sources.items()
    }
    (options.out / CARD).write_text(_with_table(card, numbers), encoding="utf-8")
    for name, examples in sources.items():
        err.print(f"{name}: {len(examples)} queries")
    err.print(f"ranker {ranker.fingerprint} is in {options.out}")


if __name__ == "__main__":
    main()
