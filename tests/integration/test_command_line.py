"""The command `rankwell` as people run it; what goes wrong is mostly run in this process."""

import gc
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ir_measures
import pytest
from typer.testing import CliRunner

import rankwell
from rankwell.cli import app

RANKWELL = Path(sys.executable).parent / "rankwell"
BEIR = Path(__file__).parents[2] / "data" / "samples" / "cranfield"
STAGES = ["lexical", "dense", "fused", "ranked"]

# The files that `built` is made of: two of documents, queries, judgments.
ANIMALS = [
    {"_id": "otter", "title": "The otter", "text": "An otter swims in rivers and eats fish."},
    {"_id": "owl", "title": "The owl", "text": "An owl hunts mice at night, without a sound."},
]
BIRDS = """_id,title,text,colour
crow,The crow,A crow is a clever bird.,black
wren,The wren,A wren sings & hides.,brown
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the real command."""
    command = [RANKWELL, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def run_here(*arguments: object) -> Any:
    """Runs the command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def published(folder: Path) -> dict[str, bytes]:
    """Returns every byte that the collection has published."""
    files = [folder / "current", *(folder / "versions").rglob("*")]
    return {str(path): path.read_bytes() for path in files if path.is_file()}


def sentence(stderr: str) -> str:
    """Returns the one line in which a command says what is wrong; progress may come before it."""
    *before, last = stderr.splitlines()
    assert "Traceback" not in stderr
    assert last.startswith("rankwell: ")
    assert [
        line for line in before if not re.fullmatch(r"[a-z ]+: [\d,]+( of [\d,]+)?", line)
    ] == []
    return last


def configured(folder: Path, old: str, new: str) -> None:
    """Replaces one line of a collection's configuration."""
    path = folder / "rankwell.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def quick(folder: Path) -> None:
    """Makes word vectors train in a moment, and leaves the ranker that ships out."""
    configured(folder, "# pretrained = true", "pretrained = false")
    configured(folder, "# dimensions = 100", "dimensions = 16")
    configured(folder, "# epochs = 0", "epochs = 2")
    configured(folder, "# subsample = 0.001", "subsample = 0.0")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A small collection made by the real commands `new` and `index`, and what they printed."""
    home = tmp_path_factory.mktemp("made")
    (home / "animals.jsonl").write_text("\n".join(map(json.dumps, ANIMALS)))
    (home / "birds.csv").write_text(BIRDS)
    (home / "queries.tsv").write_text("q1\tclever bird\nq2\tswims in rivers\n")
    (home / "judgments.txt").write_text("q1 0 crow 1\nq2 0 otter 1\n")
    folder = home / "zoo"
    documents = ("--documents", home / "animals.jsonl", home / "birds.csv")
    judged = ("--queries", home / "queries.tsv", "--judgments", home / "judgments.txt")
    new = run("new", folder, *documents, *judged)
    assert new.returncode == 0, new.stderr
    quick(folder)
    index = run("index", folder)
    assert index.returncode == 0, index.stderr
    return folder, {"new": new.stdout, "index": index.stdout}


@pytest.fixture
def built(made: tuple[Path, dict[str, str]], tmp_path: Path) -> Path:
    """A copy of the small collection that a test may change."""
    folder = tmp_path / "zoo"
    subprocess.run(["cp", "-a", made[0], folder], check=True)
    return folder


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"rankwell {rankwell.__version__}\n")


def test_new_names_all_files_and_index_counts_every_record(made: Any) -> None:
    folder, printed = made
    config = (folder / "rankwell.toml").read_text()
    for name in ("animals.jsonl", "birds.csv", "queries.tsv", "judgments.txt"):
        assert str(folder.parent / name) in config
    assert f"rankwell index {folder}" in " ".join(printed["new"].split())
    counts = "read 4 = 4 added + 0 changed + 0 unchanged + 0 rejected; 0 deleted; 4 live"
    assert printed["index"].splitlines()[0] == counts
    assert "version 000001 is live" in printed["index"]


def test_new_takes_a_folder_in_beirs_form(tmp_path: Path) -> None:
    assert run("new", tmp_path / "c", "--beir", BEIR).returncode == 0
    config = (tmp_path / "c" / "rankwell.toml").read_text()
    for name in ("corpus.jsonl.gz", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv"):
        assert f"{BEIR / name}" in config
    assert '# dev = ""' in config


def test_new_keeps_a_configuration_that_exists(built: Path) -> None:
    before = (built / "rankwell.toml").read_bytes()
    result = run_here("new", built, "--documents", built.parent)
    assert result.exit_code == 2
    assert run_here("new", built, "--beir", BEIR).exit_code == 2
    assert "exists already" in sentence(run_here("new", built, "--beir", BEIR).stderr)
    assert (built / "rankwell.toml").read_bytes() == before


def test_new_shows_a_folders_name_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "odd [red] name"
    result = run_here("new", folder, "--beir", BEIR)
    assert (folder / "rankwell.toml").is_file()
    assert "odd [red] name" in " ".join(result.stdout.split())


@pytest.mark.parametrize("options", [(), ("--beir", BEIR, "--documents", BEIR)])
def test_new_wants_files_or_a_beir_folder(tmp_path: Path, options: tuple[object, ...]) -> None:
    result = run_here("new", tmp_path / "c", *options)
    assert result.exit_code == 2
    assert "--documents" in sentence(result.stderr)
    assert not (tmp_path / "c").exists()


def test_index_again_follows_the_sources(built: Path) -> None:
    again = run_here("index", built)
    assert "0 added + 0 changed + 4 unchanged" in again.stdout
    assert "nothing changed; version 000001 stays live" in again.stdout
    gc.collect()  # a file still open fails the test here, not some later one
    source = built / "mine.jsonl"
    documents = [
        dict(ANIMALS[0], text="Otters sleep."),
        {"_id": "eel", "text": "An eel is a fish."},
    ]
    source.write_text("\n".join(map(json.dumps, documents)))
    config = (built / "rankwell.toml").read_text()
    configured(built, re.findall(r"^sources = \[.*?\]", config, re.M)[0], f'sources = ["{source}"]')
    refused = run_here("index", built)
    assert refused.exit_code == 2
    assert "3 of 4 documents (75%) are gone" in sentence(refused.stderr)
    report = json.loads(run_here("index", built, "--allow-shrink", "--json").stdout)
    wanted = {"read": 2, "added": 1, "changed": 1, "unchanged": 0, "rejected": 0, "deleted": 3}
    assert {name: report["counts"][name] for name in wanted} == wanted
    assert (report["version"], report["published"], report["counts"]["live"]) == ("000002", True, 2)


def test_search_prints_hits_on_stdout_and_times_on_stderr(made: Any) -> None:
    done = run("search", made[0], "clever bird", "-k", 1)
    title, snippet, fields = done.stdout.splitlines()
    assert done.returncode == 0
    assert re.fullmatch(r"1\. The crow  crow  \d\.\d{4}", title)
    assert snippet.strip() == "A crow is a clever bird."
    assert fields.strip() == "colour: black"
    assert re.search(r"^[\d.]+ ms \(query .*lexical .*dense .*fused .*page", done.stderr, re.M)


def test_search_filters_and_explains(made: Any) -> None:
    options = ("--filter", '{"colour": "brown"}', "--explain")
    result = run_here("search", made[0], "clever bird", *options)
    assert "wren" in result.stdout
    assert "crow" not in result.stdout
    assert re.search(r"^ +fused +-?\d\.\d{4}$", result.stdout, re.M)


def test_search_reads_marks_and_suggests_spellings(cranfield_folder: Path) -> None:
    done = run_here("search", cranfield_folder, 'supersnic "boundary layer" -heat', "-k", 1)
    assert 'did you mean: supersonic "boundary layer" -heat' in done.stderr


def test_search_json_is_one_object_of_the_documented_shape(cranfield_folder: Path) -> None:
    done = run("search", cranfield_folder, "heat transfer", "-k", 3, "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert set(answer) == {"version", "query", "took_ms", "stages", "degraded", "hits"}
    assert (answer["version"], answer["query"], answer["degraded"]) == (
        "000002",
        "heat transfer",
        [],
    )
    assert [set(stage) for stage in answer["stages"]] == [{"name", "ms", "candidates"}] * 7
    names = {"rank", "doc_id", "score", "title", "snippet", "fields"}
    assert [set(hit) for hit in answer["hits"]] == [names] * 3
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3]


def test_evaluate_gives_measures_by_stage_and_a_run_that_has_them(
    cranfield_folder: Path, tmp_path: Path
) -> None:
    run_out = tmp_path / "run.txt"
    done = run("evaluate", cranfield_folder, "--json", "--run-out", run_out)
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert set(answer) == {"version", "split", "num_queries", "measures", "seconds", "unjudged@10"}
    qrels = [ir_measures.Qrel(q, d, int(r)) for q, d, r in map(str.split, judgment_lines())]
    wanted = ("000002", "test", len({qrel.query_id for qrel in qrels}))
    assert (answer["version"], answer["split"], answer["num_queries"]) == wanted
    assert list(answer["measures"]) == list(answer["seconds"]) == STAGES
    assert [list(values) for values in answer["measures"].values()] == [
        ["nDCG@10", "AP", "RR@10", "R@100"]
    ] * 4
    ranked = list(ir_measures.read_trec_run(str(run_out)))
    for name, value in answer["measures"]["ranked"].items():
        [theirs] = ir_measures.calc_aggregate(
            [ir_measures.parse_measure(name)], qrels, ranked
        ).values()
        assert value == pytest.approx(theirs)
    lines = [line.split(" ") for line in run_out.read_text().splitlines()]
    assert {(len(line), line[1], line[5]) for line in lines} == {
        (6, "Q0", "rankwell-000002-ranked")
    }
    first = [line for line in lines if line[0] == lines[0][0]]
    assert [int(line[3]) for line in first] == list(range(1, len(first) + 1))
    scores = [float(line[4]) for line in first]
    assert all(a > b for a, b in zip(scores, scores[1:], strict=False))


@pytest.mark.parametrize("name", ["theirs.run", "theirs.json"])
def test_a_run_that_was_written_measures_as_it_did_in_place_of_the_stages(
    cranfield_folder: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    options = ("--stages", "fused", "--run-out", str(path), "--json")
    searched = json.loads(run_here("evaluate", cranfield_folder, *options).stdout)
    read = json.loads(run_here("evaluate", cranfield_folder, "--run", str(path), "--json").stdout)
    assert read["measures"][str(path)] == pytest.approx(searched["measures"]["fused"])
    assert (read["num_queries"], read["seconds"]) == (searched["num_queries"], {})
    table = run_here("evaluate", cranfield_folder, "--run", str(path)).stdout
    assert f"{searched['measures']['fused']['nDCG@10']:.4f}" in table


def test_a_run_is_not_measured_and_searched_for_at_once(made: Any, tmp_path: Path) -> None:
    (tmp_path / "x.run").write_text("q1 Q0 d 1 1 x\n")
    result = run_here("evaluate", made[0], "--run", str(tmp_path / "x.run"), "--stages", "fused")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "leave --stages and --run-out" in sentence(result.stderr)


def judgment_lines() -> list[str]:
    return (BEIR / "qrels" / "test.tsv").read_text().splitlines()[1:]


def test_evaluate_measures_only_what_is_asked(cranfield_folder: Path) -> None:
    options = ("--stages", "lexical,fused", "--measures", "P@5", "--split", "train", "--json")
    answer = json.loads(run_here("evaluate", cranfield_folder, *options).stdout)
    assert answer["split"] == "train"
    assert {stage: list(v) for stage, v in answer["measures"].items()} == {
        "lexical": ["P@5"],
        "fused": ["P@5"],
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--stages", "lexcial"), "did you mean 'lexical'?"),
        (("--stages", "ranked"), "no stage 'ranked'"),
        (("--measures", "nDGC@10"), "did you mean 'nDCG'?"),
        (("--split", "tset"), "train, dev and test"),
        (("--split", "dev"), "no dev judgments"),
    ],
)
def test_evaluate_says_what_it_cannot_measure(made: Any, options: Any, says: str) -> None:
    result = run_here("evaluate", made[0], *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in sentence(result.stderr)


def test_status_and_verify_tell_of_the_live_version(made: Any) -> None:
    facts = json.loads(run("status", made[0], "--json").stdout)
    assert (facts["version"], facts["documents"], facts["versions"]) == ("000001", 4, ["000001"])
    assert (facts["ranker"], facts["labels"]) == (None, ["not judged"])
    assert "live version   000001" in run_here("status", made[0]).stdout
    intact = json.loads(run("verify", made[0], "--json").stdout)
    assert (intact["version"], intact["intact"]) == ("000001", True)
    files = [p for p in (made[0] / "versions" / "000001").rglob("*") if p.is_file()]
    assert intact["files"] == len(files) - 1  # the manifest does not list itself


def test_train_ranker_asks_for_more_judgments(built: Path) -> None:
    before = published(built)
    done = run("train", "ranker", built)
    assert (done.returncode, done.stdout) == (2, "")
    assert "queries" in sentence(done.stderr)
    assert published(built) == before


GOOD = b'{"_id": "1", "text": "one"}\n'


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (GOOD + b'{"_id": "2", "text": \n', "line 2: not JSON"),
        (GOOD + b'{"text": "no id"}\n', "line 2: no id; expected one of _id, id, doc_id"),
        (GOOD + b'{"_id": "", "text": "x"}\n', "line 2: the id in '_id' is ''"),
        (GOOD + b'{"_id": "2", "text": 5}\n', "line 2: 'text' is a int"),
        (GOOD + b'["a list"]\n', "line 2: the line is not a JSON object"),
        (GOOD + b'{"_id": "2", "text": "caf\xe9"}\n', "line 2: not UTF-8: byte 0xe9 at column 26"),
        (GOOD + GOOD, "line 2: the id '1' came before"),
        (GOOD + b"\n\n" + GOOD, "line 4: the id '1' came before"),
        (GOOD + b'{"_id": "a\\nb", "text": ""}\n' * 2, "came before"),
        (b"\n", "the sources hold no document"),
        (None, "there is no document file at"),
    ],
)
def test_a_bad_source_stops_index_and_harms_nothing(
    built: Path, source: bytes | None, says: str
) -> None:
    bad = built / "bad.jsonl"
    if source is not None:
        bad.write_bytes(source)
    config = (built / "rankwell.toml").read_text()
    configured(built, re.findall(r"^sources = \[.*?\]", config, re.M)[0], 'sources = ["bad.jsonl"]')
    before = published(built)
    result = run_here("index", built)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in sentence(result.stderr)
    assert published(built) == before
    assert run_here("search", built, "otter").exit_code == 0


def test_a_malformed_line_stops_the_real_command_with_file_line_and_reason(built: Path) -> None:
    bad = built / "bad.jsonl"
    bad.write_bytes(GOOD + b"{oops\n")
    config = (built / "rankwell.toml").read_text()
    configured(built, re.findall(r"^sources = \[.*?\]", config, re.M)[0], 'sources = ["bad.jsonl"]')
    before = published(built)
    done = run("index", built)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{bad}, line 2: not JSON" in sentence(done.stderr)
    [kept] = (built / "rejected").iterdir()
    assert str(kept) in done.stderr
    [record] = map(json.loads, kept.read_text().splitlines())
    assert (record["file"], record["line"]) == (str(bad), 2)
    assert published(built) == before


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "[lexical]\n",
            "[lexical]\nk11 = 1.0\n",
            "unknown key 'k11' in [lexical]; did you mean 'k1'?",
        ),
        ("[lexical]\n", "[lexcial]\n", "unknown section [lexcial]; did you mean 'lexical'?"),
        ("[lexical]\n", "[lexical]\nk1 = 'much'\n", "k1 must be a number, found 'much'"),
        ("[lexical]\n", "[lexical]\nb = 1.5\n", "b is 1.5; it must be from 0.0 to 1.0"),
        ("[lexical]\n", "[lexical\n", "is not valid TOML"),
    ],
)
def test_a_bad_configuration_is_named_with_its_remedy(
    built: Path, old: str, new: str, says: str
) -> None:
    configured(built, old, new)
    before = published(built)
    result = run_here("index", built)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in sentence(result.stderr)
    assert published(built) == before


def test_an_unknown_configuration_key_stops_the_real_command(built: Path) -> None:
    configured(built, "[fusion]\n", "[fusion]\ndepht = 5\n")
    done = run("index", built)
    assert done.returncode == 2
    assert "unknown key 'depht' in [fusion]; did you mean 'depth'?" in sentence(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("search", "{}", "  "), "the query is empty"),
        (("search", "{}", "owl", "-k", 0), "k is 0; it must be from 1 to 200"),
        (("search", "{}", "owl", "--filter", "{"), "the filter is not JSON"),
        (("search", "{}", "owl", "--filter", '{"color": 1}'), "did you mean 'colour'?"),
        (("verify", "{}", "--version", "000009"), "no version '000009'; it has 000001"),
        (("verify", "{}", "--version", "../versions/000001"), "no version"),
        (("search", "{}/nowhere", "owl"), "is not a folder"),
        (("status", "{}/nowhere"), "no published version"),
        (("index", "{}/nowhere"), "has no rankwell.toml"),
        (("new", "{}/c", "--documents", "{}/gone.jsonl"), "there is no document file at"),
        (("new", "{}/c", "--documents", "{}/rankwell.toml"), "has no known format"),
        (("new", "{}/c", "--beir", "{}"), "has no corpus.jsonl"),
    ],
)
def test_a_bad_argument_gets_one_sentence(built: Path, arguments: Any, says: str) -> None:
    before = published(built)
    result = run_here(*(str(argument).replace("{}", str(built)) for argument in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in sentence(result.stderr)
    assert published(built) == before
    assert not (built / "c").exists()
    assert not (built / "nowhere").exists()


def test_a_blank_query_stops_the_real_command(made: Any) -> None:
    done = run("search", made[0], " ")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "rankwell: the query is empty; give it at least one word\n"


def test_an_unknown_command_is_a_fault_of_the_caller() -> None:
    done = run("serach")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command 'serach'" in done.stderr
    assert "Traceback" not in done.stderr


def test_verify_finds_a_flipped_bit(built: Path) -> None:
    victim = built / "versions" / "000001" / "documents.arrow"
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    done = run("verify", built)
    assert (done.returncode, done.stdout) == (2, "")
    assert "documents.arrow has changed since it was written" in sentence(done.stderr)


@pytest.mark.parametrize("part", ["documents.arrow", "manifest.json", "encoder", "vectors"])
def test_a_version_that_misses_a_part_does_not_open(built: Path, part: str) -> None:
    path = built / "versions" / "000001" / part
    path.rename(built / "away")
    result = run_here("search", built, "owl")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{part}" in sentence(result.stderr)


def test_a_failed_first_index_publishes_nothing(collection_of: Callable[..., Path]) -> None:
    folder = collection_of('{"_id": "1"', index=False)
    result = run_here("index", folder)
    assert result.exit_code == 2
    assert not (folder / "current").exists()
    assert list((folder / "versions").iterdir()) == []
    gc.collect()  # a file still open fails the test here, not some later one
    assert "no published version" in sentence(run_here("search", folder, "owl").stderr)


def test_ctrl_c_during_index_leaves_the_live_version_as_it_was(built: Path) -> None:
    configured(built, "epochs = 2", "epochs = 3000000")
    before = published(built)
    with subprocess.Popen(
        [RANKWELL, "index", built], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as job:
        assert job.stderr is not None
        assert job.stderr.readline() == "reading documents: 4 of 4\n"
        time.sleep(0.5)  # into the training that would not end
        job.send_signal(signal.SIGINT)
        stdout, stderr = job.communicate(timeout=60)
    assert (job.returncode, stdout) == (130, "")
    assert "interrupted" in sentence(stderr)
    assert published(built) == before
    configured(built, "epochs = 3000000", "epochs = 3")
    assert "version 000002 is live" in run_here("index", built).stdout


def test_ctrl_c_while_libraries_load_leaves_no_traceback(built: Path) -> None:
    def heeds_ctrl_c() -> None:  # which a shell has its jobs in the background ignore
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        [RANKWELL, "search", built, "owl"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=heeds_ctrl_c,
    ) as search:
        maps = Path(f"/proc/{search.pid}/maps")
        while "/torch/" not in maps.read_text():  # more than a second of loading is left
            time.sleep(0.001)
        search.send_signal(signal.SIGINT)
        assert search.communicate(timeout=60) == (b"", b"")
    assert search.returncode == 130


def test_serve_ends_cleanly_on_ctrl_c(made: Any) -> None:
    with subprocess.Popen(
        [RANKWELL, "serve", made[0], "--port", "0"], stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        assert "serving version 000001" in server.stderr.readline()
        time.sleep(0.5)
        server.send_signal(signal.SIGINT)
        _, stderr = server.communicate(timeout=60)
    assert server.returncode in (0, 130)
    assert "Traceback" not in stderr


def test_documents_are_added_deleted_and_given_back_without_a_job(
    built: Path, tmp_path: Path
) -> None:
    bat = tmp_path / "bat.csv"
    bat.write_text("id,title,text\nbat,The bat,A bat hunts moths at night.\n")
    done = run("add", built, bat)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("read 1 = 1 added + 0 rejected; ")
    assert "bat" in run_here("search", built, "moths").stdout
    deleted = json.loads(run_here("delete", built, "bat", "owl", "--json").stdout)
    assert deleted == {"read": 2, "rejected": 0, "changed": 2, "last_number": 3, "pending": 2}
    hits = json.loads(run_here("search", built, "hunts at night", "--json").stdout)["hits"]
    assert not {"bat", "owl"} & {hit["doc_id"] for hit in hits}
    assert run_here("withdraw", built, "owl").exit_code == 0
    hits = json.loads(run_here("search", built, "hunts at night", "--json").stdout)["hits"]
    assert hits[0]["doc_id"] == "owl"


def test_a_document_that_is_not_there_cannot_be_deleted(built: Path) -> None:
    result = run_here("delete", built, "dodo", "owl")
    assert result.exit_code == 2
    assert "there is no document 'dodo'; nothing was deleted" in sentence(result.stderr)
    assert not (built / "journal" / "entries.jsonl").exists()
