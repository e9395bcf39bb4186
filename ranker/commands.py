"""The commands that search and rank: search, evaluate, train."""

import html
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.markup import escape
from rich.table import Table

from rankwell.data.config import CONFIG_FILE, load_config
from rankwell.data.errors import InputError
from rankwell.data.filters import parsed_filter
from rankwell.data.records import SearchResult
from rankwell.data.terminal import Folder, Json, err, out, print_json, say, shown_progress, warn
from rankwell.data.versions import RANKER
from rankwell.evaluation.measures import DEFAULT_MEASURES
from rankwell.evaluation.runs import read_run, write_run
from rankwell.indexer.retraining import retrain_words
from rankwell.ranker.declared import feature_names
from rankwell.ranker.encoders import train_encoder
from rankwell.ranker.feature_files import train_on_lists, write_features
from rankwell.ranker.gate import release_gate
from rankwell.ranker.jobs import ranker_again, train_ranker
from rankwell.ranker.judging import Evaluation
from rankwell.ranker.opening import open_collection
from rankwell.training.group import rank
from rankwell.training.run import Report
from rankwell.training.strategy import NAMES, Name, Strategy


def features(
    folder: Folder,
    out: Annotated[Path, typer.Option(metavar="F", help="The file to write.")],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "train",
    json: Json = False,
) -> None:
    """Write the features of judged queries' candidates as SVMlight, to train rankers elsewhere."""
    with shown_progress() as progress:
        lines = write_features(folder, out, split, progress)
    names = feature_names(load_config(folder).ranker.priors)
    if json:
        print_json({"lines": lines, "features": list(names)})
        return
    say(f"wrote {lines} lines of {len(names)} features to {out}")


_MOVED = 5

WithoutRanker = Annotated[
    bool,
    typer.Option(
        "--without-ranker", help="Leave the collection's own ranker out, for `train ranker`."
    ),
]

train_app = typer.Typer(
    help="Train a part on the collection and publish a version with it.", no_args_is_help=True
)


def search(
    folder: Folder,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.")],
    k: Annotated[int, typer.Option("-k", help="Hits to show.")] = 10,
    filter_: Annotated[
        str | None,
        typer.Option("--filter", metavar="JSON", help="""Such as '{"category": "Physics"}'."""),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show each hit's scores and features.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the best documents for a query, with the time of each stage."""
    with open_collection(folder) as collection:
        collection.warm()  # loads what the first search of a process would wait for
        result = collection.search(query, k, filter=parsed_filter(filter_), explain=explain)
    if json:
        print_json(result.to_json())
    else:
        _print_result(result)


def evaluate(
    folder: Folder,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    stages: Annotated[
        str | None, typer.Option(help="Of lexical,dense,fused,ranked; all by default.")
    ] = None,
    measures: Annotated[str, typer.Option(help="ir_measures' names.")] = DEFAULT_MEASURES,
    judgments: Annotated[
        str | None,
        typer.Option(metavar="F", help="Judgments in place of a split: a file, or irds:ID."),
    ] = None,
    run_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--run", metavar="F", help="Measure a TREC or BEIR run in place of the stages; several."
        ),
    ] = None,
    per_query: Annotated[
        bool, typer.Option("--per-query", help="The values of each query too.")
    ] = False,
    run_out: Annotated[
        Path | None,
        typer.Option(metavar="F", help="Write the last stage as a run: TREC's, or BEIR's .json."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure each stage, or runs of other systems, against the judgments."""
    names = stages.replace(",", " ").split() if stages else None
    if run_files and (names or run_out):
        raise InputError("--run measures files in place of searching: leave --stages and --run-out")
    runs = {str(path): read_run(path) for path in run_files or ()}
    with open_collection(folder) as collection, shown_progress() as progress:
        if not runs:
            collection.warm()
        evaluation = collection.evaluate(
            split,
            stages=names,
            measures=measures,
            judgments=judgments,
            runs=runs,
            progress=progress,
        )
    for warning in evaluation.warnings:
        warn(warning)
    if run_out is not None:
        stage, run = list(evaluation.runs.items())[-1]
        write_run(run_out, run, f"rankwell-{evaluation.version}-{stage}")
    if json:
        more = {"per_query": evaluation.per_query} if per_query else {}
        print_json({**evaluation.to_json(), **more})
        return
    print_evaluation(evaluation)
    if per_query:
        _print_per_query(evaluation)


@train_app.command("ranker")
def train_ranker_command(
    folder: Folder,
    features: Annotated[
        Path | None,
        typer.Option(
            metavar="F",
            help="Learn from this SVMlight file: of `rankwell features`, or, where DIR is a new "
            "folder for the ranker, of any features.",
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(metavar="F", help="With any features: a file to measure the ranker on."),
    ] = None,
    without_judgments: Annotated[
        bool, typer.Option("--without-judgments", help="Learn from the documents alone.")
    ] = False,
    json: Json = False,
) -> None:
    """Train the deep ranker on the training judgments, from the ranker that ships.

    Without judgments, queries made of the documents correct what ships, where that is safe.
    """
    if features is not None and not (folder / CONFIG_FILE).exists():
        with shown_progress() as progress:
            of_lists = train_on_lists(features, folder, test, progress=progress)
        if json:
            print_json(asdict(of_lists))
            return
        say(
            f"nDCG@10 on {of_lists.num_queries} training queries, each ranked by networks that did "
            f"not see it: {of_lists.ranked:.4f}"
        )
        if of_lists.test is not None:
            say(f"nDCG@10 on the queries of {test}: {of_lists.test:.4f}")
        say(f"the ranker is in {folder}")
        return
    if test is not None:
        raise InputError("--test measures rankers of files; evaluate a collection's: evaluate DIR")
    with shown_progress() as progress:
        report = train_ranker(
            folder, progress, features=features, with_judgments=not without_judgments
        )
    for warning in report.warnings:
        warn(warning)
    if json:
        print_json(asdict(report))
        return
    queries = "queries made of documents" if report.made else "training queries"
    say(
        f"nDCG@10 on {report.num_queries} {queries}, each ranked by networks that did not "
        f"see it: fused {report.fused:.4f}, ranked {report.ranked:.4f}"
    )
    if report.declined:
        say(
            "what they taught is not surely better than what is served; "
            f"version {report.version} stays live"
        )
        return
    say(f"version {report.version} is live; next: rankwell evaluate {folder}")


@train_app.command("encoder")
def train_encoder_command(
    folder: Folder,
    without_judgments: Annotated[
        bool, typer.Option("--without-judgments", help="Learn from the documents alone.")
    ] = False,
    without_ranker: WithoutRanker = False,
    json: Json = False,
) -> None:
    """Train the encoder again, on the documents, the training judgments and the clicks.

    The ranker that the collection had is trained again with it. A transformer is fine-tuned: on
    judgments, or on queries made of the documents. Interrupted, its training goes on when it is
    run again. Started by torchrun, its processes train together.
    """
    with shown_progress() as progress:
        report = train_encoder(
            folder,
            with_judgments=not without_judgments,
            progress=progress,
            ranked=None if without_ranker else ranker_again(folder, progress),
        )
    if rank() > 0:  # the first process of torchrun's speaks
        return
    if json:
        print_json(asdict(report))
        return
    for name, value in report.facts.items():
        if isinstance(value, list):  # the curve of a fine-tuning
            for point in value:
                say("  " + ", ".join(f"{what} {number}" for what, number in point.items()))
        else:
            say(f"  {name}: {value}")
    _say_what_is_next(folder, report.version, report.ranker)


@train_app.command("words")
def train_words_command(
    folder: Folder,
    strategy: Annotated[
        str,
        typer.Option(
            metavar="|".join(NAMES),
            help="One process; processes that agree after each round; threads or, with --servers, "
            "workers that do not wait; or groups of the former among the latter.",
        ),
    ] = "single",
    workers: Annotated[int, typer.Option(metavar="N", help="Processes or threads.")] = 1,
    servers: Annotated[
        int,
        typer.Option(metavar="N", help="Parameter servers on Ray; of a cluster by RAY_ADDRESS."),
    ] = 0,
    backups: Annotated[
        int,
        typer.Option(
            metavar="N", help="synchronous: workers more, so that none waits for the slowest."
        ),
    ] = 0,
    groups: Annotated[
        int, typer.Option(metavar="N", help="hybrid: the groups that the workers form.")
    ] = 2,
    staleness: Annotated[
        int,
        typer.Option(metavar="N", help="With servers: rounds that a worker may be ahead."),
    ] = 2,
    without_ranker: WithoutRanker = False,
    json: Json = False,
) -> None:
    """Train the word vectors again, and all document vectors with them.

    The ranker that the collection had is trained again too. An interrupted training goes on from
    its last checkpoint when it is run again.
    """
    how = Strategy(
        name=cast(Name, strategy),
        workers=workers,
        servers=servers,
        backups=backups,
        groups=groups,
        staleness=staleness,
    )
    reports: list[Report] = []
    with shown_progress() as progress:
        ranked = None if without_ranker else ranker_again(folder, progress)
        version = retrain_words(folder, progress, how, reports.append, release_gate, ranked)
    if rank() > 0:  # the first process of torchrun's speaks
        return
    [report] = reports
    for event in report.events:
        warn(event)
    if json:
        print_json(
            {
                "version": version.name,
                "labels": list(version.manifest.labels),
                "training": {**asdict(how), **report.to_json()},
            }
        )
        return
    if report.staleness:
        counts = ", ".join(f"{n} times {age}" for age, n in sorted(report.staleness.items()))
        say(f"staleness, in steps of others between reading and writing: {counts}")
    _say_what_is_next(folder, version.name, version.has(RANKER))


def _say_what_is_next(folder: Path, version: str, ranker: bool) -> None:
    verb = "evaluate" if ranker else "train ranker"
    trained = ", with a ranker trained on it" if ranker else ""
    say(f"version {version} is live{trained}; next: rankwell {verb} {folder}")


def print_evaluation(evaluation: Evaluation) -> None:
    """Prints the table of stages."""
    names = list(next(iter(evaluation.measures.values())))
    table = Table(
        title=f"{evaluation.num_queries} {evaluation.split} queries, version {evaluation.version}"
    )
    table.add_column("stage")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("unjudged@10", justify="right")
    table.add_column("ms a query", justify="right")
    for stage, values in evaluation.measures.items():
        seconds = evaluation.seconds.get(stage)
        table.add_row(
            stage,
            *(f"{values[name]:.4f}" for name in names),
            f"{evaluation.unjudged[stage]:.0%}",
            "" if seconds is None else f"{1000 * seconds / evaluation.num_queries:.2f}",
        )
    out.print(table)


def _print_per_query(evaluation: Evaluation) -> None:
    """Prints lines of query, stage and the values of the measures, with tabs between them."""
    for stage, by_measure in evaluation.per_query.items():
        for query_id in next(iter(by_measure.values())):
            values = "\t".join(f"{of[query_id]:.4f}" for of in by_measure.values())
            say(f"{query_id}\t{stage}\t{values}")


def _print_result(result: SearchResult) -> None:
    for hit in result.hits:
        name = escape(hit.title or hit.doc_id)
        out.print(f"[bold]{hit.rank}. {name}[/]  [dim]{escape(hit.doc_id)}  {hit.score:.4f}[/]")
        out.print("   " + _marked(hit.snippet))
        if hit.fields:
            fields = ", ".join(f"{name}: {value}" for name, value in hit.fields.items())
            out.print(f"   [dim]{escape(fields)}[/]")
    if not result.hits:
        say("no document matches")
    if result.suggestion:
        err.print(f"did you mean: {result.suggestion}", markup=False)
    for explanation in result.explanations:
        out.print(f"\n[bold]{escape(explanation.doc_id)}[/]")
        for name, value in {**explanation.features, **explanation.scores}.items():
            out.print(f"   {name:<28}{value:>10.4f}")
        for name, value in list(explanation.moved.items())[:_MOVED]:
            out.print(f"   before the next by {name:<24}{value:>+10.4f}")
        for term, words in explanation.words.items():
            shown = ", ".join(
                f"{escape(word)} ({of.kernel}, {of.similarity:.2f}) {of.part:+.4f}"
                for word, of in words.items()
            )
            out.print(f"   {escape(term)}: {shown or '-'}")
    times = ", ".join(f"{stage.name} {stage.ms:.1f}" for stage in result.stages)
    err.print(f"{result.took_ms:.1f} ms ({times})", style="dim")
    for note in result.degraded:
        warn(note)


def _marked(snippet: str) -> str:
    """Returns a snippet's safe HTML as rich's markup."""
    pieces = snippet.replace("</mark>", "<mark>").split("<mark>")
    plain = [escape(html.unescape(piece)) for piece in pieces]
    return "".join(f"[bold]{p}[/]" if i % 2 else p for i, p in enumerate(plain)).replace("\n", " ")


def register(app: typer.Typer) -> None:
    """Adds this package's commands."""
    app.command()(search)
    app.command()(evaluate)
    app.command()(features)
    app.add_typer(train_app, name="train")
