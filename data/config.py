"""The configuration: one frozen dataclass a section of rankwell.toml, each key with its sentence.

The same declarations check a file, fill the defaults and write the commented file of
`rankwell new`, so that no key exists without its documentation.
"""

import dataclasses
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from rankwell.data.errors import ConfigError, nearest

CONFIG_FILE = "rankwell.toml"

TANTIVY = "tantivy"
ELASTICSEARCH = "elasticsearch"


def setting(default: Any, doc: str, *, low: float | None = None, high: float | None = None) -> Any:
    """Declares one key: its default, its sentence, and the range of its value, ends allowed."""
    return dataclasses.field(default=default, metadata={"doc": doc, "low": low, "high": high})


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{key} is '{value}'; {nearest(value, choices)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """The base of all sections: checks ranges."""

    def __post_init__(self) -> None:
        for key in dataclasses.fields(self):
            value, low, high = getattr(self, key.name), key.metadata["low"], key.metadata["high"]
            items = value if isinstance(value, tuple) else (value,)
            if not all((low is None or v >= low) and (high is None or v <= high) for v in items):
                bounds = f"from {low} to {high}" if high is not None else f"at least {low}"
                raise ConfigError(f"{key.name} is {value}; it must be {bounds}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionConfig(Section):
    """The collection as a whole."""

    name: str = setting("my-collection", "shown in the page and in reports")
    seed: int = setting(0, "all training and sampling starts from this number", low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentsConfig(Section):
    """Where documents come from and how their records are read."""

    sources: tuple[str, ...] = setting(
        (),
        "files, folders or patterns; .jsonl, .csv, .tsv, .parquet, plain or .gz or .zst; relative "
        "to this file",
    )
    id_field: str = setting("", "the key of the document id; empty: _id, id or doc_id")
    title_fields: tuple[str, ...] = setting(("title",), "keys that make the title, joined")
    text_fields: tuple[str, ...] = setting(("text",), "keys that make the text, joined")
    max_rejected: int = setting(
        0, "more unreadable records than this stop the job, with nothing published", low=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueriesConfig(Section):
    """The queries that judgments speak of."""

    source: str = setting("", "a .jsonl file with _id and text, or a .tsv with id and text")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgmentsConfig(Section):
    """Relevance judgments: TREC qrels, or tab-separated query-id, corpus-id, score."""

    train: str = setting("", "judgments that train the ranker")
    dev: str = setting("", "judgments for choices made while training")
    test: str = setting("", "judgments that only `evaluate` reads")
    mixed: str = setting("", "one file for all: its queries are split into train and test")
    test_share: float = setting(
        0.3, "the share of the queries of `mixed` that become test", low=0.0, high=1.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisConfig(Section):
    """How text becomes words and terms."""

    language: str = setting("english", "a Snowball stemmer's name, or none")
    stop_words: str = setting("auto", "auto (a list for English alone), none, or a file of words")
    synonyms: str = setting(
        "", "a file of lines such as `car, automobile`: words that are one term"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WordsConfig(Section):
    """Word embeddings: skip-gram with negative sampling on the collection."""

    dimensions: int = setting(100, "length of a word vector", low=2, high=4096)
    window: int = setting(5, "furthest distance between two words of a pair", low=1, high=100)
    negatives: int = setting(5, "noise words for each pair", low=1, high=100)
    min_count: int = setting(5, "rarer words get no vector; fewer in small collections", low=1)
    subsample: float = setting(1e-3, "words more frequent than this are thinned out", low=0.0)
    learning_rate: float = setting(0.05, "at the start; decays to nothing", low=0.0, high=1.0)
    epochs: int = setting(0, "passes over the collection; 0: chosen by its size", low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LexicalConfig(Section):
    """Lexical search: BM25 over terms."""

    engine: str = setting("tantivy", "tantivy, the embedded engine, or elasticsearch")
    k1: float = setting(0.9, "BM25: how soon repetitions of a term stop counting", low=0.0)
    b: float = setting(0.4, "BM25: how much long documents are held back", low=0.0, high=1.0)
    title_weight: float = setting(1.0, "a word of the title counts as this many", low=0.0)
    depth: int = setting(1000, "candidates that the engine gives", low=1, high=10000)

    def __post_init__(self) -> None:
        """Checks the engine's name."""
        Section.__post_init__(self)
        _check_choice("engine", self.engine, (TANTIVY, ELASTICSEARCH))


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticsearchConfig(Section):
    """A cluster of Elasticsearch 8: with an index of rankwell's own, or with one of yours."""

    urls: tuple[str, ...] = setting(
        ("http://127.0.0.1:9200",), "hosts of one cluster; one that is down is left out for a while"
    )
    api_key_env: str = setting("", "the environment variable that holds an API key")
    user: str = setting("", "a user, where there is no API key")
    password_env: str = setting("", "the environment variable that holds the user's password")
    ca_file: str = setting("", "the certificate authority of https hosts, relative to this file")
    fingerprint: str = setting("", "the SHA-256 of the certificate, in place of ca_file")
    prefix: str = setting("rankwell", "the names of rankwell's own indexes start so")
    shards: int = setting(1, "of rankwell's own indexes", low=1, high=1024)
    replicas: int = setting(1, "copies of each shard of rankwell's own indexes", low=0, high=100)
    vectors: str = setting(
        "none", "document vectors in the index too, for kNN search: none, float, int8 or bbq"
    )
    index: str = setting("", "an index or alias of yours; it is read, and never written to")
    fields: tuple[str, ...] = setting((), "its fields to search, such as title^2, with boosts")
    analyzer: str = setting("", "the analyzer of queries to it; empty: each field's own")
    sample: int = setting(
        10_000, "its documents that term statistics and word vectors come from", low=100
    )
    timeout_ms: int = setting(2000, "the longest wait of a search, retries included", low=1)
    retries: int = setting(2, "further tries of a search that failed for a moment", low=0, high=10)
    without_lexical: str = setting(
        "fail", "where the cluster is down: fail, or dense: answer from the vectors alone"
    )
    bulk_bytes: int = setting(
        4_000_000, "a bulk request is sent when it has grown so large", low=1000, high=100_000_000
    )
    bulk_documents: int = setting(500, "or has so many documents", low=1, high=100_000)
    bulk_in_flight: int = setting(2, "bulk requests at the same time", low=1, high=64)
    max_document_bytes: int = setting(
        100_000_000, "larger documents are rejected; the server's http.max_content_length", low=1000
    )
    wait_s: int = setting(120, "how long a load waits for a cluster that is away", low=0)

    def __post_init__(self) -> None:
        """Checks the addresses and the names."""
        Section.__post_init__(self)
        if not self.urls:
            raise ConfigError("urls is empty; name a host, such as http://127.0.0.1:9200")
        for url in self.urls:
            if not re.fullmatch(r"https?://[^/\s@]+(/[^\s@]*)?", url):
                raise ConfigError(
                    f"urls has '{url}'; expected http://HOST:PORT or https://HOST:PORT, with no "
                    "name or password in it"
                )
        if self.ca_file and self.fingerprint:
            raise ConfigError("ca_file and fingerprint are both given; choose one")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,99}", self.prefix):
            raise ConfigError(
                f"prefix is '{self.prefix}'; Elasticsearch takes small letters, digits, -, _ and ."
            )
        if bool(self.index) != bool(self.fields):
            raise ConfigError("index and fields go together: name the fields of the index, or none")
        for field in self.fields:
            field_and_boost(field)
        _check_choice("vectors", self.vectors, ("none", "float", "int8", "bbq"))
        _check_choice("without_lexical", self.without_lexical, ("fail", "dense"))
        if self.without_lexical == "dense" and self.vectors != "none":
            raise ConfigError(
                "without_lexical is 'dense', but vectors puts the dense candidates into the "
                "cluster too; leave one of them out"
            )

    @property
    def layout(self) -> tuple[str, int, str]:
        """What an index of rankwell's own must be built again for."""
        return self.prefix, self.shards, self.vectors


def field_and_boost(field: str) -> tuple[str, float]:
    """Returns the name and the boost of a field written as `title^2`.

    >>> field_and_boost("title^2"), field_and_boost("body")
    (('title', 2.0), ('body', 1.0))

    Raises:
        ConfigError: it is not written so.
    """
    match = re.fullmatch(r"([^\s^*,]+)(?:\^([0-9]+(?:\.[0-9]+)?))?", field)
    if not match:
        raise ConfigError(f"fields has '{field}'; expected a name, or a name and a boost: title^2")
    return match[1], float(match[2] or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseConfig(Section):
    """Dense search: inner products of document and query vectors."""

    depth: int = setting(1000, "candidates that the engine gives", low=1, high=10000)
    sif: float = setting(
        1e-3, "smooth inverse frequency: words more frequent than this weigh less", low=1e-9
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionConfig(Section):
    """How lexical and dense scores become one."""

    lexical_weight: float = setting(
        0.8, "the share of BM25 in the fused score, until a ranker is trained", low=0.0, high=1.0
    )
    method: str = setting(
        "convex", "convex: a weighted mean of the scores; rrf: by reciprocal ranks, 1 / (60 + rank)"
    )
    depth: int = setting(200, "fused candidates that are ranked and served", low=1, high=1000)

    def __post_init__(self) -> None:
        """Checks the method's name."""
        Section.__post_init__(self)
        _check_choice("method", self.method, ("convex", "rrf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerConfig(Section):
    """The deep ranker and its training."""

    hidden: tuple[int, ...] = setting((64, 32), "widths of the hidden layers", low=1)
    dropout: float = setting(0.2, "share of hidden units left out while training", low=0, high=0.9)
    learning_rate: float = setting(2e-3, "of the AdamW optimiser", low=0.0, high=1.0)
    weight_decay: float = setting(0.05, "of the AdamW optimiser", low=0.0)
    max_epochs: int = setting(60, "passes over the training queries, at most", low=0)
    patience: int = setting(10, "epochs without a better development figure before it stops", low=1)
    folds: int = setting(5, "parts of the training queries; one network a part left out", low=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole rankwell.toml."""

    collection: CollectionConfig = CollectionConfig()
    documents: DocumentsConfig = DocumentsConfig()
    queries: QueriesConfig = QueriesConfig()
    judgments: JudgmentsConfig = JudgmentsConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    words: WordsConfig = WordsConfig()
    lexical: LexicalConfig = LexicalConfig()
    elasticsearch: ElasticsearchConfig = ElasticsearchConfig()
    dense: DenseConfig = DenseConfig()
    fusion: FusionConfig = FusionConfig()
    ranker: RankerConfig = RankerConfig()

    def __post_init__(self) -> None:
        """Checks what two sections say together."""
        if self.lexical.engine == TANTIVY and self.elasticsearch.vectors != "none":
            raise ConfigError(
                '[elasticsearch] vectors needs [lexical] engine = "elasticsearch"; they lie in '
                "the same index"
            )
        if self.attached and self.elasticsearch.without_lexical == "dense":
            raise ConfigError(
                '[elasticsearch] without_lexical = "dense" needs documents of rankwell\'s own; '
                "those of an attached index are in the cluster alone"
            )

    @property
    def attached(self) -> bool:
        """Whether searches ask an index of the user's own, whose documents stay where they are."""
        return bool(self.elasticsearch.index) and not self.documents.sources

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """Returns the configuration as nested dictionaries, as a manifest keeps it."""
        return dataclasses.asdict(self)


def secret(variable: str) -> str:
    """Returns what the environment variable that a setting names holds.

    Raises:
        ConfigError: it is not set.
    """
    value = os.environ.get(variable, "")
    if not value:
        raise ConfigError(
            f"the environment variable {variable}, which the configuration names, is not set"
        )
    return value


def load_config(folder: Path) -> Config:
    """Reads and checks folder/rankwell.toml.

    Raises:
        ConfigError: the file is missing or not TOML, or a section, key, type or value is wrong.
    """
    if not (folder / CONFIG_FILE).exists():
        raise ConfigError(
            f"{folder} has no {CONFIG_FILE}; make one with: rankwell new {folder} --documents FILE"
        )
    return read_config(folder / CONFIG_FILE)


def read_config(path: Path, base: Config | None = None) -> Config:
    """Reads and checks a configuration file; what it leaves out stays as in base.

    Raises:
        ConfigError: the file is not TOML, or a section, key, type or value is wrong.
    """
    try:
        mapping = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    merged = (base or Config()).to_mapping()
    for name, content in mapping.items():
        known = merged.get(name, {})
        merged[name] = {**known, **content} if isinstance(content, dict) else content
    try:
        return config_from_mapping(merged)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def config_from_mapping(mapping: Mapping[str, Any]) -> Config:
    """Returns the configuration of nested dictionaries, defaults filled in.

    Raises:
        ConfigError: a section, key, type or value is wrong; the message names the nearest key.
    """
    sections = get_type_hints(Config)
    filled: dict[str, Any] = {}
    for name, content in mapping.items():
        if name not in sections:
            raise ConfigError(f"unknown section [{name}]; {nearest(name, sections)}")
        if not isinstance(content, Mapping):
            raise ConfigError(f"'{name}' must be a section: write [{name}] on a line of its own")
        filled[name] = _section(name, sections[name], content)
    return Config(**filled)


def _section(name: str, section: type[Section], content: Mapping[str, Any]) -> Section:
    types = get_type_hints(section)
    for key in content:
        if key not in types:
            raise ConfigError(f"unknown key '{key}' in [{name}]; {nearest(key, types)}")
    values = {key: _value(name, key, types[key], value) for key, value in content.items()}
    try:
        return section(**values)
    except ConfigError as error:
        raise ConfigError(f"[{name}] {error}") from None


def _value(section: str, key: str, expected: Any, value: Any) -> Any:
    """Returns a TOML value as the declared type."""
    element = {tuple[str, ...]: str, tuple[int, ...]: int}.get(expected)
    if element is not None:
        if isinstance(value, list | tuple) and all(type(item) is element for item in value):
            return tuple(value)
        raise ConfigError(
            f"[{section}] {key} must be a list of {_TYPE_NAMES[element]}s, found {value!r}"
        )
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise ConfigError(f"[{section}] {key} must be a {_TYPE_NAMES[expected]}, found {value!r}")
    return value


_TYPE_NAMES = {str: "string", int: "whole number", float: "number", bool: "true or false value"}


def render_config(config: Config) -> str:
    """Returns the text of a rankwell.toml with every key and its sentence; defaults commented out.

    >>> print(render_config(Config()).splitlines()[4])
    # name = "my-collection"    # shown in the page and in reports
    """
    lines = ["# The configuration of a rankwell collection. A line with # in front is the default."]
    for part in dataclasses.fields(config):
        section = getattr(config, part.name)
        lines += ["", f"# {(type(section).__doc__ or '').strip()}", f"[{part.name}]"]
        for key in dataclasses.fields(section):
            value = getattr(section, key.name)
            mark = "# " if value == key.default else ""
            lines.append(f"{mark}{key.name} = {_toml(value)}    # {key.metadata['doc']}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        printable = (c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped)
        return '"' + "".join(printable) + '"'
    return repr(value)
