"""The ranker that ships: made by `make pretrain`, used before there are judgments.

Its card, `pretrained/card.md`, names its sources and shows what its recipe does elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import as_file, files

from rankwell.data.config import RankerConfig
from rankwell.ranker.fit import FirstStageFit
from rankwell.ranker.learning import TRUSTED_MIX
from rankwell.ranker.model import EnsembleNetwork
from rankwell.ranker.rankers import ANY_ENCODER, DeepRanker, load_ranker

FOLDER = "pretrained"
LEARNT = "queries.json"


@cache
def _shipped() -> DeepRanker:
    with as_file(files("rankwell.ranker") / FOLDER) as folder:
        ranker = load_ranker(folder, ANY_ENCODER)
    assert isinstance(ranker, DeepRanker)
    return ranker


def pretrained_ranker(fit: FirstStageFit) -> DeepRanker:
    """Returns the ranker that ships, over a first stage; it fits every encoder."""
    return DeepRanker(_shipped().network, fit, TRUSTED_MIX, ANY_ENCODER)


def starting_network(config: RankerConfig, texts: Iterable[str] = ()) -> EnsembleNetwork | None:
    """Returns the network that training starts from, None where it starts from nothing.

    That is so where [ranker] says it, and for the queries that the ranker which ships has learnt
    from: no figure of theirs would be one of queries not seen.

    Args:
        config: the [ranker] section.
        texts: of the training queries.
    """
    if not config.pretrained or not _learnt().isdisjoint(map(query_hash, texts)):
        return None
    return _shipped().network


def query_hash(text: str) -> str:
    """Returns what a query that was learnt from is known by."""
    return hashlib.sha256(" ".join(text.lower().split()).encode()).hexdigest()[:12]


@cache
def _learnt() -> frozenset[str]:
    path = files("rankwell.ranker") / FOLDER / LEARNT
    return frozenset(json.loads(path.read_text(encoding="utf-8")))
