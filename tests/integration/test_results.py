"""The published figures come out again: the lexical stage as configured, before any training."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import rankwell
from rankwell.data.config import WordsConfig, render_config
from rankwell.indexer.job import index_collection
from rankwell.indexer.starting import config_of_beir
from rankwell.ranker.collection import Collection

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = json.loads((REPOSITORY / "docs" / "results.json").read_text())


def four_decimals(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def lexical_figures(collection: Collection, name: str) -> dict[str, float]:
    measures = " ".join(PUBLISHED[name]["configured_lexical"])
    found = collection.evaluate(stages=["lexical"], measures=measures)
    return four_decimals(dict(found.measures["lexical"]))


def test_cranfields_lexical_figures_are_those_of_the_results_page(cranfield_folder: Path) -> None:
    published = four_decimals(PUBLISHED["cranfield"]["configured_lexical"])
    with rankwell.open(cranfield_folder, "000001") as before_training:  # which may fit k1 and b
        assert lexical_figures(before_training, "cranfield") == published
    assert published["nDCG@10"] == 0.4371  # .438 is known for these settings, stop words apart


@pytest.mark.parametrize("name", ["scifact", "cisi", "cacm", "vaswani"])
def test_lexical_figures_of_the_development_collections_come_out_again(
    development_data: Path, tmp_path: Path, name: str
) -> None:
    config = config_of_beir(tmp_path, development_data / name)
    quick = replace(config, words=WordsConfig(dimensions=2, epochs=1))
    (tmp_path / "rankwell.toml").write_text(render_config(quick))
    index_collection(tmp_path)
    with rankwell.open(tmp_path) as collection:
        published = four_decimals(PUBLISHED[name]["configured_lexical"])
        assert lexical_figures(collection, name) == published
