"""The configuration: one frozen dataclass a section of rankwell.toml, each key with its sentence.

The same declarations check a file, fill the defaults and write the commented file of
`rankwell new`, so that no key exists without its documentation.
"""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from rankwell.data.cluster import ElasticsearchConfig
from rankwell.data.encoders import DenseConfig, FinetuningConfig
from rankwell.data.errors import ConfigError, nearest
from rankwell.data.service import ServingConfig
from rankwell.data.settings import Section, check_choice, setting

CONFIG_FILE = "rankwell.toml"
WORD_MODELS = ("skip-gram", "cbow", "exact")
RANKERS = ("deep", "lambdamart")
LOSSES = ("softmax", "cross-entropy", "lambdarank", "approx-ndcg")

TANTIVY = "tantivy"
ELASTICSEARCH = "elasticsearch"


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
    max_shrink: float = setting(
        0.5, "a larger share of documents gone stops the job; --allow-shrink", low=0.0, high=1.0
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
    """Word embeddings: skip-gram or CBOW, trained on the collection."""

    model: str = setting(
        "skip-gram",
        "skip-gram, or cbow: faster, less exact for rare words; both by negative sampling; exact: "
        "skip-gram by the softmax over all words, for small vocabularies",
    )
    dimensions: int = setting(100, "length of a word vector", low=2, high=4096)
    window: int = setting(5, "furthest distance between two words of a pair", low=1, high=100)
    negatives: int = setting(5, "noise words for each pair", low=1, high=100)
    min_count: int = setting(5, "rarer words get no vector; fewer in small collections", low=1)
    max_words: int = setting(
        1_000_000, "at most so many words get a vector, the most frequent", low=1
    )
    phrases: float = setting(
        0.0,
        "neighbouring words are one, as new_york, if they meet more than by chance: above so much "
        "normalised mutual information, 0.5 being a start; 0: none",
        low=0.0,
        high=1.0,
    )
    subsample: float = setting(1e-3, "words more frequent than this are thinned out", low=0.0)
    learning_rate: float = setting(0.05, "at the start; decays to nothing", low=0.0, high=1.0)
    epochs: int = setting(0, "passes over the collection; 0: chosen by its size", low=0)
    start: str = setting(
        "",
        "a file of trained vectors to start from, in the text form of word2vec, GloVe or fastText, "
        "plain or .gz; of the same dimensions",
    )

    def __post_init__(self) -> None:
        """Checks the model's name."""
        Section.__post_init__(self)
        check_choice("model", self.model, WORD_MODELS)


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
        check_choice("engine", self.engine, (TANTIVY, ELASTICSEARCH))


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorsConfig(Section):
    """The index over the documents' vectors."""

    index: str = setting(
        "auto",
        "exact, hnsw, ivf, auto (by their number, length and memory_mb), or a factory string of "
        "FAISS, such as IVF4096,PQ96x4fs",
    )
    target_recall: float = setting(
        0.95, "the share of the true best ten that the index must find", low=0.0, high=1.0
    )
    memory_mb: int = setting(0, "the most that the index may take; 0: half of the machine's", low=0)
    device: str = setting("cpu", "cpu, gpu, or auto: a GPU where there is one, while it works")
    checked_share: float = setting(
        0.01, "the share of searches in service that exact search checks", low=0.0, high=1.0
    )

    def __post_init__(self) -> None:
        """Checks the device's name."""
        Section.__post_init__(self)
        check_choice("device", self.device, ("cpu", "gpu", "auto"))

    @property
    def layout(self) -> tuple[str, float, int]:
        """What an index must be built again for."""
        return self.index, self.target_recall, self.memory_mb


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
        check_choice("method", self.method, ("convex", "rrf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerConfig(Section):
    """The deep ranker and its training."""

    model: str = setting(
        "deep", "deep, or lambdamart: boosted trees by LightGBM, without the ranker that ships"
    )
    pretrained: bool = setting(
        True, "the ranker that ships orders until one is trained, and is what training starts from"
    )
    loss: str = setting("softmax", "softmax, cross-entropy, lambdarank or approx-ndcg")
    hidden: tuple[int, ...] = setting(
        (32,), "widths of the hidden layers, where training starts from nothing", low=1
    )
    dropout: float = setting(0.2, "share of hidden units left out while training", low=0, high=0.9)
    learning_rate: float = setting(2e-3, "of the AdamW optimiser", low=0.0, high=1.0)
    weight_decay: float = setting(0.05, "of the AdamW optimiser", low=0.0)
    max_epochs: int = setting(80, "passes over the training queries, at most", low=0)
    patience: int = setting(20, "epochs without a better development figure before it stops", low=1)
    folds: int = setting(5, "parts of the training queries; one network a part left out", low=2)
    priors: tuple[str, ...] = setting(
        (), "fields that may count for any query, such as a date or a popularity"
    )

    def __post_init__(self) -> None:
        """Checks the names of model and loss, and that there is a hidden layer."""
        Section.__post_init__(self)
        check_choice("model", self.model, RANKERS)
        check_choice("loss", self.loss, LOSSES)
        if not self.hidden:
            raise ConfigError("hidden has no layer; give one width at least")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig(Section):
    """When a new model may become live."""

    margin: float = setting(
        0.02, "how far below 0 the lower bound of the nDCG@10 gained may lie", low=0.0, high=1.0
    )
    latency_factor: float = setting(2.0, "how much slower the median query may become", low=1.0)
    latency_ms: float = setting(100.0, "a median query as fast as this is never too slow", low=0.0)


_CLUSTER, _DENSE = ElasticsearchConfig(), DenseConfig()
_FINETUNING = FinetuningConfig()
_SERVICE = ServingConfig()
_LEAST_FOR_BBQ = 64  # Elasticsearch's own limit


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
    elasticsearch: ElasticsearchConfig = _CLUSTER
    dense: DenseConfig = _DENSE
    finetuning: FinetuningConfig = _FINETUNING
    vectors: VectorsConfig = VectorsConfig()
    fusion: FusionConfig = FusionConfig()
    ranker: RankerConfig = RankerConfig()
    gate: GateConfig = GateConfig()
    serving: ServingConfig = _SERVICE

    def __post_init__(self) -> None:
        """Checks what two sections say together."""
        if self.lexical.engine == TANTIVY and self.elasticsearch.vectors != "none":
            raise ConfigError(
                '[elasticsearch] vectors needs [lexical] engine = "elasticsearch"; they lie in '
                "the same index"
            )
        if self.elasticsearch.vectors == "bbq" and self.words.dimensions < _LEAST_FOR_BBQ:
            raise ConfigError(
                f'[elasticsearch] vectors = "bbq" needs vectors of at least {_LEAST_FOR_BBQ} '
                f"numbers; [words] dimensions is {self.words.dimensions}"
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
            lines.append(f"{mark}{key.name} = {toml_value(value)}    # {key.metadata['doc']}")
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """Returns a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        printable = (c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped)
        return '"' + "".join(printable) + '"'
    return repr(value)
