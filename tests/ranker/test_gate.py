"""The release gate: what it lets pass, what it refuses, and what it never reads."""

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from rankwell.cli import app
from rankwell.data.config import (
    DocumentsConfig,
    FusionConfig,
    GateConfig,
    JudgmentsConfig,
    LexicalConfig,
    QueriesConfig,
    load_config,
    render_config,
)
from rankwell.data.errors import Unavailable
from rankwell.data.judgments import load_judgments
from rankwell.data.release import Check
from rankwell.data.versions import EVALUATION, Version, VersionStore
from rankwell.indexer.job import index_collection
from rankwell.ranker import gate
from rankwell.ranker.collection import Collection
from rankwell.ranker.gate import release_gate

CollectionOf = Callable[..., Path]

# Queries t0... find their document by its title alone, x0... by its text alone: a model that does
# not read titles loses the first and keeps the others.
NUM_DOCS = 70
DOCS = [
    {"_id": f"d{i}", "title": f"titled{i}", "text": f"written{i} as all the others are"}
    for i in range(NUM_DOCS)
]
TITLES = [f"t{i}" for i in range(NUM_DOCS)]
TEXTS = [f"x{i}" for i in range(NUM_DOCS)]
WITHOUT_TITLES = LexicalConfig(title_weight=0.0)


def judgments(queries: Iterable[str]) -> str:
    return "".join(f"{query} 0 d{query[1:]} 1\n" for query in queries)


def configure(folder: Path, **sections: Any) -> None:
    config = replace(load_config(folder), **sections)
    (folder / "rankwell.toml").write_text(render_config(config))


@pytest.fixture(scope="module")
def three_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions: 1, 2 without titles, and 3 as 1 but for one document; no judgments."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "rankwell.toml").write_text(
        # the ranker that ships would find the titles all the same
        "[words]\ndimensions = 4\nepochs = 1\n[ranker]\npretrained = false\n"
    )
    configure(
        folder,
        documents=DocumentsConfig(sources=("corpus.jsonl",)),
        queries=QueriesConfig(source="queries.tsv"),
        fusion=FusionConfig(lexical_weight=1.0),
    )
    words = {"t": "titled", "x": "written"}
    (folder / "queries.tsv").write_text(
        "".join(f"{query}\t{words[query[0]]}{query[1:]}\n" for query in TITLES + TEXTS)
    )
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(doc) + "\n" for doc in DOCS))
    index_collection(folder)
    configure(folder, lexical=WITHOUT_TITLES)
    index_collection(folder)
    VersionStore(folder).set_current("000001")
    configure(folder, lexical=LexicalConfig())
    corpus.write_text("".join(json.dumps(doc) + "\n" for doc in DOCS[1:]))
    assert index_collection(folder).counts.deleted == 1
    VersionStore(folder).set_current("000001")
    corpus.write_text("".join(json.dumps(doc) + "\n" for doc in DOCS))
    return folder


@pytest.fixture
def folder(three_models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(three_models, tmp_path / "models"))


def judge(folder: Path, **splits: Iterable[str]) -> None:
    """Gives the collection judgments of some queries."""
    for split, queries in splits.items():
        (folder / f"{split}.txt").write_text(judgments(queries))
    configure(folder, judgments=JudgmentsConfig(**{split: f"{split}.txt" for split in splits}))


def asked(folder: Path, new: str = "000002", old: str = "000001") -> dict[str, Check]:
    """Asks the gate about one version in the place of another."""
    store = VersionStore(folder)
    return {c.name: c for c in release_gate(folder, store.open(new), store.open(old))}


def rankwell(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_first_version_has_nothing_to_be_compared_with(folder: Path) -> None:
    judge(folder, train=TITLES)
    [check] = release_gate(folder, VersionStore(folder).open(), None)
    assert (check.passed, check.found) == (
        True,
        "the first version; there is none to compare it with",
    )


def test_a_change_of_documents_passes_without_judging(folder: Path) -> None:
    configure(folder, judgments=JudgmentsConfig(train="not there", dev="not there either"))
    assert asked(folder, "000003") == {}


def test_a_worse_model_is_refused_kept_and_published_despite_it(folder: Path) -> None:
    judge(folder, train=TITLES)
    configure(folder, lexical=WITHOUT_TITLES)
    for _ in range(2):  # and refused again when cron comes back
        result = rankwell("index", folder)
        assert result.exit_code == 3
    store = VersionStore(folder)
    assert (store.current_name(), store.names()[-1]) == ("000001", "000005")
    assert store.verify("000005").manifest.config["lexical"]["title_weight"] == 0
    said = result.stderr.splitlines()[-1]
    assert said.startswith("rankwell: version 000005 was refused: nDCG@10 on 70 train queries: -")
    assert "the lower bound must be above -0.02" in said
    assert said.endswith(f'rankwell publish {folder} 000005 --despite "REASON"')
    [report] = sorted((folder / "jobs").glob("*-index.json"))[-1:]
    told = json.loads(report.read_text())
    assert (told["refused"], told["published"], told["version"]) == ("000005", False, "000001")
    assert {check["name"]: check["passed"] for check in told["gate"]} == {
        **dict.fromkeys(("integrity", "rows", "documents", "canaries", "recall"), True),
        "quality": False,
        "latency": True,
    }
    done = rankwell("publish", folder, "000005", "--despite", "titles are gone anyway")
    assert (done.exit_code, store.current_name()) == (0, "000005")
    assert rankwell("index", folder).exit_code == 0  # nothing changed since


def test_figures_tell_of_the_paired_difference(folder: Path) -> None:
    judge(folder, train=TITLES + TEXTS)
    check = asked(folder)["quality"]
    # without titles the 70 queries by title find their document at its row, if among the ten
    assert check.passed is False
    assert check.figures["before"] == 1.0
    assert 0.5 <= check.figures["after"] < 0.55
    difference = check.figures["after"] - check.figures["before"]
    assert check.figures["difference"] == pytest.approx(difference)
    assert check.figures["low"] < difference < check.figures["high"] < 0
    assert check.figures["num_queries"] == 140
    better = asked(folder, "000001", "000002")["quality"]
    assert better.passed is True
    assert better.figures["difference"] == pytest.approx(-difference)


def test_the_lower_bound_may_lie_as_far_below_as_the_margin(folder: Path) -> None:
    judge(folder, train=[*TEXTS[:58], "t20", "t21"])
    check = asked(folder)["quality"]
    assert check.figures["difference"] == pytest.approx(-2 / 60, abs=0.02)
    low = check.figures["low"]
    assert (check.passed, low < -0.02) == (False, True)
    for margin, passes in ((-low + 0.001, True), (-low - 0.001, False)):
        configure(folder, gate=GateConfig(margin=margin))
        assert asked(folder)["quality"].passed is passes


def test_below_fifty_queries_the_mean_must_not_fall(folder: Path) -> None:
    configure(folder, gate=GateConfig(margin=1.0))  # no margin helps
    judge(folder, train=[*TEXTS[:48], "t20"])
    check = asked(folder)["quality"]
    assert (check.passed, check.figures["num_queries"]) == (False, 49)
    assert "below 50 queries the mean must not fall" in check.found
    judge(folder, train=TEXTS[:49])
    assert asked(folder)["quality"].passed is True
    judge(folder, train=[*TEXTS[:49], "t20"])  # fifty: the lower bound, and its margin
    check = asked(folder)["quality"]
    assert (check.passed, check.figures["num_queries"]) == (True, 50)
    assert "the lower bound must be above -1;" in check.found


def test_the_development_split_is_preferred(folder: Path) -> None:
    judge(folder, train=TITLES, dev=TEXTS)
    check = asked(folder)["quality"]
    assert check.passed is True
    assert check.found.startswith("nDCG@10 on 70 dev queries: +0.0000")
    judge(folder, train=TEXTS, dev=TITLES)
    assert asked(folder)["quality"].passed is False


@pytest.mark.parametrize("test", ["worse", "better", "broken", "missing"])
def test_test_judgments_are_never_read(folder: Path, test: str) -> None:
    judge(folder, train=TITLES[:60], test=TITLES[60:])
    before = asked(folder)["quality"]
    path = folder / "test.txt"
    contents = {"worse": judgments(TEXTS), "better": judgments(TITLES), "broken": "what?\n"}
    path.unlink()
    if test in contents:
        path.write_text(contents[test])
    assert asked(folder)["quality"] == before
    assert before.figures["num_queries"] == 60


def test_of_a_mixed_file_the_test_queries_do_not_count(folder: Path) -> None:
    judge(folder, mixed=TITLES)
    config = load_config(folder).judgments
    train = load_judgments(config, "train", folder)
    test = load_judgments(config, "test", folder)
    assert len(train) + len(test) == 70
    assert len(test) > 10
    assert asked(folder)["quality"].figures["num_queries"] == len(train)


def test_unjudged_documents_are_counted_and_shown(folder: Path) -> None:
    judge(folder, train=TITLES[30:60])
    check = asked(folder)["quality"]
    store = VersionStore(folder)
    shares = []
    for name in ("000001", "000002"):
        with Collection(folder, store.open(name)) as collection:
            hits = [[h.doc_id for h in collection.search(f"titled{i}").hits] for i in range(30, 60)]
        shown = sum(map(len, hits))
        judged = sum(f"d{i}" in ids for i, ids in enumerate(hits, start=30))
        shares.append(1 - judged / max(shown, 1))
    assert check.figures["unjudged_before"] == pytest.approx(shares[0])
    assert check.figures["unjudged"] == pytest.approx(shares[1])
    assert (
        f"{shares[1]:.0%} of the first ten documents nobody judged ({shares[0]:.0%}" in check.found
    )


def test_without_judgments_the_overlap_is_a_warning(folder: Path) -> None:
    [check] = asked(folder).values()
    assert (check.name, check.passed) == ("overlap", True)
    assert check.figures["num_queries"] == 50
    assert 0 < check.figures["overlap"] < 1
    assert check.found.startswith("warning: there are no judgments to judge by; ")
    configure(folder, fusion=FusionConfig(lexical_weight=1.0, depth=100))
    result = rankwell("index", folder)
    assert result.exit_code == 0
    warning = "warning: there are no judgments to judge by; 100% of the first ten documents of 50"
    assert any(line.startswith(warning) for line in result.stderr.splitlines())
    assert VersionStore(folder).current_name() == "000004"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist"),
        ("q 1\n", "judgments.txt"),
        ("nobody 0 d1 1\n", "none of the 1 judged queries is among"),
    ],
)
def test_judgments_that_cannot_be_used_refuse_a_change_of_model(
    folder: Path, content: str | None, says: str
) -> None:
    # what was configured to guard users must not go unnoticed when it is gone
    if content is not None:
        (folder / "judgments.txt").write_text(content)
    configure(folder, judgments=JudgmentsConfig(train="judgments.txt"))
    [check] = asked(folder).values()
    assert (check.name, check.passed) == ("quality", False)
    assert says in check.found


@pytest.mark.parametrize(
    ("limits", "passes"),
    [
        (GateConfig(latency_factor=2.0, latency_ms=5.0), False),
        (GateConfig(latency_factor=4.0, latency_ms=5.0), True),
        (GateConfig(latency_factor=2.0, latency_ms=31.0), True),
    ],
)
def test_a_slower_model_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, limits: GateConfig, passes: bool
) -> None:
    now = 0.0
    rank = Collection.rank

    def slow(self: Collection, *args: Any, **kwargs: Any) -> Any:
        nonlocal now
        now += {"000001": 0.010, "000002": 0.030}[self.version.name]
        return rank(self, *args, **kwargs)

    monkeypatch.setattr(Collection, "rank", slow)
    monkeypatch.setattr(gate, "time", SimpleNamespace(perf_counter=lambda: now))
    judge(folder, train=TEXTS[:9])
    configure(folder, gate=limits)
    check = asked(folder)["latency"]
    assert check.passed is passes
    assert check.figures["median_ms"] == pytest.approx(30)
    assert check.figures["median_ms_before"] == pytest.approx(10)
    assert "the median query takes 30.0 ms (10.0 before)" in check.found


def test_a_live_version_that_does_not_open_is_not_worth_defending(folder: Path) -> None:
    judge(folder, train=TITLES)
    store = VersionStore(folder)
    old, new = store.open("000001"), store.open("000002")
    (old.folder / "documents.arrow").unlink()
    [check] = release_gate(folder, new, old)
    assert check.passed is True
    assert check.found.startswith("the live version does not open: ")


def test_a_live_version_that_is_only_out_of_reach_is_defended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(folder, train=TITLES)
    opening = gate.open_version

    def away(folder: Path, version: Version, **options: Any) -> Collection:
        if version.name == "000001":
            raise Unavailable("the cluster is away")
        return opening(folder, version, **options)

    monkeypatch.setattr(gate, "open_version", away)
    with pytest.raises(Unavailable, match="the cluster is away"):
        asked(folder)


def test_a_new_version_that_does_not_open_is_refused(folder: Path) -> None:
    judge(folder, train=TITLES)
    store = VersionStore(folder)
    new = store.open("000002")
    (new.folder / "canaries.json").write_text("{}")
    [check] = release_gate(folder, new, store.open("000001"))
    assert check.passed is False
    assert check.found.startswith("the new version does not open: ")


@pytest.mark.parametrize(
    "changed",
    [{"index": "other", "fields": ["body"]}, {"analyzer": "english"}],
)
def test_what_a_cluster_searches_is_part_of_the_model(folder: Path, changed: Any) -> None:
    version = VersionStore(folder).open("000001")
    config = dict(version.manifest.config)
    config["elasticsearch"] = {**config["elasticsearch"], **changed}
    other = Version(version.folder, replace(version.manifest, config=config))
    assert {check.name for check in release_gate(folder, other, version)} == {"overlap"}


def test_one_query_is_judged_by_the_mean_and_none_is_not_judged(folder: Path) -> None:
    judge(folder, train=["t20"])
    check = asked(folder)["quality"]
    assert (check.passed, check.figures["num_queries"]) == (False, 1)
    judge(folder, train=["x20"])
    assert asked(folder)["quality"].passed is True
    evaluation = {"fused": {"x20": 0.0}, "judgments": {"x20": "others"}}
    (folder / "versions" / "000001" / EVALUATION).write_text(json.dumps(evaluation))
    check = asked(folder)["quality"]
    assert (check.passed, check.figures) == (True, {})
    assert check.found.startswith("warning: not judged: a model learnt from each of the queries")


def test_versions_take_turns_in_being_asked_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(folder, train=TEXTS[:4])
    asked_for: list[tuple[str, str]] = []
    rank = Collection.rank

    def noting(self: Collection, query: str, *args: Any) -> Any:
        asked_for.append((query, self.version.name))
        return rank(self, query, *args)

    monkeypatch.setattr(Collection, "rank", noting)
    asked(folder)
    order = ["000001", "000002", "000002", "000001"] * 2
    assert [name for query, name in asked_for if query.startswith("written")][-8:] == order
