"""A configuration is checked in every key, and the file that documents it is true."""

import dataclasses
import math
import re
import tomllib
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rankwell.data.config import (
    CONFIG_FILE,
    LOSSES,
    RANKERS,
    WORD_MODELS,
    Config,
    LexicalConfig,
    config_from_mapping,
    load_config,
    render_config,
)
from rankwell.data.encoders import BACKENDS, ENCODERS
from rankwell.data.errors import ConfigError

SECTIONS = get_type_hints(Config)
KEYS = [(name, key) for name, section in SECTIONS.items() for key in dataclasses.fields(section)]
# texts of a form of their own, which the tests of what is refused know
FORMED = {"engine", "method", "urls", "prefix", "vectors", "index", "fields", "without_lexical"} | {
    "ca_file",
    "fingerprint",
    "device",
    "hosts",
    "cors_origins",
    "traces",
    "hidden",
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def values(section: str, key: dataclasses.Field[Any]) -> st.SearchStrategy[Any]:
    """All values of a key that its declaration allows."""
    kind, low, high = (
        get_type_hints(SECTIONS[section])[key.name],
        *(key.metadata[end] for end in ("low", "high")),
    )
    if key.name in FORMED:
        return st.just(key.default)
    names = {
        ("lexical", "engine"): ("tantivy",),
        ("words", "model"): WORD_MODELS,
        ("dense", "encoder"): ENCODERS[:-1],  # a transformer needs a model
        ("dense", "backend"): BACKENDS,
        ("ranker", "model"): RANKERS,
        ("ranker", "loss"): LOSSES,
    }
    if (section, key.name) in names:
        return st.sampled_from(names[section, key.name])
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(low, high)
    if kind is float:
        return st.floats(low, high, allow_nan=False)
    if kind is str:
        return TEXT
    items = st.integers(1, 512) if kind == tuple[int, ...] else TEXT
    return st.lists(items, max_size=3).map(tuple)


CONFIGS = st.fixed_dictionaries(
    {
        name: st.fixed_dictionaries(
            {}, optional={key.name: values(name, key) for section, key in KEYS if section == name}
        )
        for name in SECTIONS
    }
).map(config_from_mapping)


@given(CONFIGS)
@example(config_from_mapping({"collection": {"name": "\x7f"}}))
@example(config_from_mapping({"collection": {"name": '# "a\\b"\n\t\r'}}))
def test_a_rendered_configuration_reads_back_as_it_was(config: Config) -> None:
    assert config_from_mapping(tomllib.loads(render_config(config))) == config


@given(CONFIGS)
def test_the_mapping_of_a_configuration_reads_back_as_it_was(config: Config) -> None:
    assert config_from_mapping(config.to_mapping()) == config


def test_the_rendered_defaults_are_comments_that_state_the_defaults() -> None:
    text = render_config(Config())
    assert not any(tomllib.loads(text).values())
    uncommented = tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE))
    assert {name: set(content) for name, content in uncommented.items()} == {
        name: {key.name for key in dataclasses.fields(section)}
        for name, section in SECTIONS.items()
    }
    assert config_from_mapping(uncommented) == Config()


@pytest.mark.parametrize(("section", "key"), KEYS, ids=lambda part: getattr(part, "name", part))
def test_every_key_has_a_sentence_in_the_rendered_file(
    section: str, key: dataclasses.Field[Any]
) -> None:
    assert len(key.metadata["doc"].split()) >= 3
    assert f"# {key.metadata['doc']}\n" in render_config(Config()).split(f"[{section}]")[1]


def test_a_file_fills_what_it_names_and_leaves_the_rest_at_the_defaults(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text(
        '[documents]\nsources = ["a.jsonl", "é.csv"]\n[lexical]\nk1 = 2\n[ranker]\nhidden = [8]\n',
        encoding="utf-8",
    )
    config = load_config(tmp_path)
    assert config.documents.sources == ("a.jsonl", "é.csv")
    assert (config.lexical.k1, type(config.lexical.k1), config.lexical.b) == (2.0, float, 0.4)
    assert config.ranker.hidden == (8,)
    assert config.words == Config().words


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"lexcial": {}}, r"unknown section \[lexcial\]; did you mean 'lexical'"),
        ({"zzz": {}}, r"unknown section \[zzz\]; known are analysis, collection, "),
        ({"lexical": {"dept": 5}}, r"unknown key 'dept' in \[lexical\]; did you mean 'depth'"),
        ({"lexical": {"zzz": 5}}, r"unknown key 'zzz' in \[lexical\]; known are b, depth, "),
        ({"lexical": 5}, r"'lexical' must be a section: write \[lexical\]"),
        ({"lexical": {"depth": 5.0}}, r"\[lexical\] depth must be a whole number, found 5.0"),
        ({"lexical": {"depth": True}}, r"\[lexical\] depth must be a whole number, found True"),
        ({"lexical": {"k1": "high"}}, r"\[lexical\] k1 must be a number, found 'high'"),
        ({"lexical": {"k1": False}}, r"\[lexical\] k1 must be a number, found False"),
        ({"collection": {"name": 5}}, r"\[collection\] name must be a string, found 5"),
        ({"documents": {"sources": "a.csv"}}, r"sources must be a list of strings, found 'a.csv'"),
        ({"documents": {"sources": [1]}}, r"sources must be a list of strings, found \[1\]"),
        ({"ranker": {"hidden": [8.5]}}, r"hidden must be a list of whole numbers, found \[8.5\]"),
        ({"ranker": {"hidden": [8, -5]}}, r"\[ranker\] hidden"),
        ({"lexical": {"depth": 0}}, r"\[lexical\] depth is 0; it must be from 1 to 10000"),
        ({"lexical": {"depth": 10001}}, r"\[lexical\] depth is 10001; it must be from 1 to 10000"),
        ({"lexical": {"k1": -0.1}}, r"\[lexical\] k1 is -0.1; it must be at least 0"),
        ({"judgments": {"test_share": 1.5}}, r"test_share is 1.5; it must be from 0.0 to 1.0"),
        ({"judgments": {"test_share": math.nan}}, r"test_share is nan; it must be from 0.0 to 1.0"),
        ({"words": {"model": "skipgram"}}, r"model is 'skipgram'; did you mean 'skip-gram'"),
        ({"words": {"phrases": 1.5}}, r"\[words\] phrases is 1.5; it must be from 0.0 to 1.0"),
        ({"lexical": {"engine": "tantvy"}}, r"engine is 'tantvy'; did you mean 'tantivy'"),
        ({"fusion": {"method": "rff"}}, r"\[fusion\] method is 'rff'; did you mean 'rrf'"),
        ({"elasticsearch": {"urls": []}}, "urls is empty; name a host"),
        ({"elasticsearch": {"urls": ["es:9200"]}}, "urls has 'es:9200'; expected http://HOST:PORT"),
        ({"elasticsearch": {"urls": ["http://me:secret@es"]}}, "with no name or password in it"),
        ({"elasticsearch": {"prefix": "My Index"}}, "prefix is 'My Index'; .* small letters"),
        ({"elasticsearch": {"index": "a"}}, "index and fields go together"),
        ({"elasticsearch": {"index": "a", "fields": ["x^"]}}, r"fields has 'x\^'; expected a name"),
        ({"elasticsearch": {"ca_file": "a", "fingerprint": "b"}}, "both given; choose one"),
        ({"elasticsearch": {"vectors": "int4"}}, "vectors is 'int4'; did you mean 'int8'"),
        ({"elasticsearch": {"without_lexical": "go"}}, "without_lexical is 'go'; known are dense"),
        ({"elasticsearch": {"vectors": "int8"}}, r'needs \[lexical\] engine = "elasticsearch"'),
        (
            {"elasticsearch": {"vectors": "int8", "without_lexical": "dense"}},
            "puts the dense candidates into the cluster too",
        ),
        (
            {"elasticsearch": {"index": "a", "fields": ["x"], "without_lexical": "dense"}},
            "needs documents of rankwell's own",
        ),
        ({"dense": {"encoder": "statik"}}, r"encoder is 'statik'; did you mean 'static'"),
    ],
)
def test_a_wrong_configuration_is_refused_with_what_is_wrong(
    mapping: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_mapping(mapping)


@pytest.mark.parametrize(("section", "key"), KEYS, ids=lambda part: getattr(part, "name", part))
def test_both_ends_of_a_range_are_allowed_and_what_lies_beyond_is_not(
    section: str, key: dataclasses.Field[Any]
) -> None:
    ends = [(key.metadata["low"], -1), (key.metadata["high"], 1)]
    for end, step in [(end, step) for end, step in ends if end is not None]:
        assert getattr(SECTIONS[section](**{key.name: end}), key.name) == end
        with pytest.raises(ConfigError, match=f"{key.name} is .*; it must be "):
            SECTIONS[section](**{key.name: end + step})
    assert config_from_mapping({section: {key.name: key.default}}) == Config()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[lexical\n", "is not valid TOML"),
        (b'[collection]\nname = "caf\xe9"\n', "is not valid TOML"),
        (b"[lexcial]\n", r"rankwell\.toml: unknown section \[lexcial\]"),
        (None, "has no rankwell.toml; make one with: rankwell new"),
    ],
    ids=["not TOML", "not UTF-8", "unknown section", "no file"],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / CONFIG_FILE).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_file_given_in_place_of_the_collection_folder_is_a_fault_of_the_caller(
    tmp_path: Path,
) -> None:
    (tmp_path / CONFIG_FILE).write_text("")
    with pytest.raises(ConfigError, match=r"rankwell\.toml"):
        load_config(tmp_path / CONFIG_FILE)


def test_a_section_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        LexicalConfig().k1 = 5.0  # type: ignore[misc]
