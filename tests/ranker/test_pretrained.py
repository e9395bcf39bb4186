"""The ranker that ships: which queries it knows as its own."""

import csv
import json
from importlib.resources import files

from rankwell.data.config import RankerConfig
from rankwell.ranker.pretrained import LEARNT, query_hash, starting_network

CRANFIELD = files("rankwell.data") / "samples" / "cranfield"


def judged(split):
    """Returns the ids of Cranfield's queries of a split."""
    lines = (CRANFIELD / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]
    return {query_id for query_id, *_ in csv.reader(lines, delimiter="\t")}


def test_what_it_learnt_from_are_training_queries_alone():
    records = map(json.loads, (CRANFIELD / "queries.jsonl").read_text().splitlines())
    hashes = {record["_id"]: query_hash(record["text"]) for record in records}
    folder = files("rankwell.ranker") / "pretrained"
    learnt = set(json.loads((folder / LEARNT).read_text()))
    # one of the 135 has no relevant document among its candidates
    assert {query_id for query_id, of in hashes.items() if of in learnt} == judged("train") - {"28"}
    assert len(learnt) == 134
    assert "| 134 " in (folder / "card.md").read_text()


def test_queries_that_the_shipped_ranker_learnt_from_start_from_nothing():
    seen = "what problems of heat conduction in composite slabs have been solved so far ."
    config = RankerConfig()
    assert starting_network(config, ["another query"]) is not None
    assert starting_network(config, ["another query", seen.upper()]) is None
    assert starting_network(RankerConfig(pretrained=False)) is None
