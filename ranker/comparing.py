"""The commands that settle arguments: compare, report and tune."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from rankwell.data.config import load_config
from rankwell.data.errors import InputError, nearest
from rankwell.data.terminal import Folder, Json, out, print_json, say, shown_progress, warn
from rankwell.evaluation.comparison import Comparison, compare_runs, moved_documents
from rankwell.evaluation.judged import Judged, load_judged, unjudged_share
from rankwell.evaluation.measures import parse_measures
from rankwell.evaluation.plots import search_plot
from rankwell.evaluation.report import (
    SHOWN_DOCUMENTS,
    ReportContext,
    render_report,
    write_report,
)
from rankwell.evaluation.significance import Interval
from rankwell.evaluation.slices import (
    length_groups,
    most_common_groups,
    slice_figures,
    third_groups,
)
from rankwell.ranker.collection import Collection
from rankwell.ranker.opening import open_collection
from rankwell.ranker.systems import System, gather_systems
from rankwell.ranker.tuning import OBJECTIVES, tune, write_settings

# narrow enough for a terminal of 80 columns
_PLAIN: dict[str, Any] = {"box": SIMPLE_HEAD, "padding": (0, 1), "pad_edge": False}

COMPARED_MEASURES = "nDCG@10"
MOVED_DEPTH = 10

Systems = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[A B]...",
        help="Versions, stages, configurations (.toml), either with :STAGE, or run files; the "
        "first is the baseline. All stages of the live version by default.",
    ),
]
Split = Annotated[str, typer.Option(help="train, dev or test.")]
Judgments = Annotated[
    str | None,
    typer.Option(metavar="F", help="Judgments in place of a split: a file, or irds:ID."),
]
Measures = Annotated[str, typer.Option(help="ir_measures' names; the first one leads.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse runs whose queries differ.")]
FieldSlice = Annotated[
    str | None, typer.Option("--slice", metavar="FIELD", help="Also group by a metadata field.")
]


def compare(
    folder: Folder,
    systems: Systems = None,
    split: Split = "test",
    judgments: Judgments = None,
    measures: Measures = COMPARED_MEASURES,
    strict: Strict = False,
    field: FieldSlice = None,
    shown: Annotated[int, typer.Option(help="Queries to show of those won and lost most.")] = 3,
    json: Json = False,
) -> None:
    """Say with statistics whether one system is better than another."""
    made = _compare(folder, systems or [], split, judgments, measures, strict, field)
    if json:
        print_json(made.to_json())
        return
    for measure in made.comparison.means[made.comparison.baseline]:
        _print_table(made, measure)
    _print_slices(made)
    for system in made.systems[1:]:
        _print_moved(made, system, shown)


def report(
    folder: Folder,
    systems: Systems = None,
    report_out: Annotated[
        Path, typer.Option("--out", metavar="F.html", help="Where the page is written.")
    ] = Path("report.html"),
    split: Split = "test",
    judgments: Judgments = None,
    measures: Measures = "nDCG@10 AP RR@10 R@100",
    strict: Strict = False,
    field: FieldSlice = None,
) -> None:
    """Write the comparison as one self-contained page with plots."""
    made = _compare(folder, systems or [], split, judgments, measures, strict, field)
    page = render_report(made.comparison, made.context(shlex.join(["rankwell", *sys.argv[1:]])))
    write_report(report_out, page)
    say(f"wrote {report_out}; open it in a browser")


@dataclass(frozen=True, slots=True)
class _Made:
    """A comparison with what is needed to show it."""

    name: str
    judged: Judged
    systems: Sequence[System]
    comparison: Comparison
    slices: dict[str, dict[str, str]]
    titles: dict[str, str]

    def context(self, command: str) -> ReportContext:
        return ReportContext(
            title=f"{self.name}: {', '.join(s.name for s in self.systems)}",
            made_at=datetime.now(UTC),
            command=command,
            runs={s.name: s.run for s in self.systems},
            ms_per_query={s.name: s.ms_per_query for s in self.systems if s.ms_per_query},
            queries=self.judged.texts,
            relevances=self.judged.relevances,
            document_titles=self.titles,
            slices=self.slices,
            facts={s.name: s.facts for s in self.systems},
            unjudged={s.name: unjudged_share(self.judged.judgments, s.run) for s in self.systems},
        )

    def to_json(self) -> dict[str, Any]:
        comparison = self.comparison
        return {
            "split": self.judged.name,
            "baseline": comparison.baseline,
            "num_queries": len(comparison.query_ids),
            "systems": {
                s.name: {
                    "measures": {m: asdict(i) for m, i in comparison.means[s.name].items()},
                    "ms_per_query": s.ms_per_query,
                    "unjudged@10": unjudged_share(self.judged.judgments, s.run),
                }
                for s in self.systems
            },
            "contrasts": [asdict(contrast) for contrast in comparison.contrasts],
            "warnings": list(comparison.warnings),
        }


def _compare(
    folder: Path,
    names: list[str],
    split: str,
    judgments: str | None,
    measures: str,
    strict: bool,
    field: str | None,
) -> _Made:
    parsed = parse_measures(measures)
    config = load_config(folder)
    judged = load_judged(config, folder, split, judgments)
    with shown_progress() as progress:
        systems = gather_systems(folder, names, judged.texts, progress)
    comparison = compare_runs(
        judged.judgments,
        {system.name: system.run for system in systems},
        parsed,
        strict=strict,
        seed=config.collection.seed,
    )
    for warning in comparison.warnings:
        warn(warning)
    with open_collection(folder) as collection:
        slices = _slices(judged, collection, field)
        titles = _titles(systems, collection)
    return _Made(config.collection.name, judged, systems, comparison, slices, titles)


def _slices(judged: Judged, collection: Collection, field: str | None) -> dict[str, dict[str, str]]:
    """Returns the groups of the queries: by length, frequency of their terms, tags and a field."""
    analysed = {q: collection.analyzer.query(text) for q, text in judged.texts.items()}
    statistics, vocabulary = collection.pool.forward.statistics, collection.pool.forward.vocabulary
    frequency = {}
    for query_id, query in analysed.items():
        ids = np.array([vocabulary.term_id(term) for term in query.terms], np.int64)
        if len(ids):
            frequency[query_id] = float(np.log1p(statistics.document_frequencies(ids)).mean())
    slices = {
        "length": length_groups({q: len(query.surfaces) for q, query in analysed.items()}),
        "terms": third_groups(frequency, ("rare", "middling", "frequent")),
    }
    if any(query.tags for query in judged.queries.values()):
        slices["tag"] = most_common_groups({q: query.tags for q, query in judged.queries.items()})
    if field is not None:
        slices[field] = most_common_groups(_field_values(judged, collection, field))
    return slices


def _field_values(judged: Judged, collection: Collection, field: str) -> dict[str, list[str]]:
    """Returns the values of a field in the relevant documents of each query."""
    if field not in collection.documents.field_types:
        hint = nearest(field, collection.documents.field_types)
        raise InputError(f"--slice names the field '{field}', which does not exist; {hint}")
    column = collection.documents.field(field)
    relevant = [j for j in judged.judgments if j.relevance > 0]
    rows = collection.documents.rows_of([j.doc_id for j in relevant])
    values: dict[str, list[str]] = {}
    for judgment, row in zip(relevant, rows.tolist(), strict=True):
        value = column[row].as_py() if row >= 0 else None
        if value not in (None, "", []):
            values.setdefault(judgment.query_id, []).append(str(value))
    return values


def _titles(systems: Sequence[System], collection: Collection) -> dict[str, str]:
    shown = {
        doc_id
        for system in systems
        for doc_ids in system.run.values()
        for doc_id in doc_ids[:SHOWN_DOCUMENTS]
    }
    ids = sorted(shown)
    rows = collection.documents.rows_of(ids)
    return {
        doc_id: collection.documents[row].title
        for doc_id, row in zip(ids, rows.tolist(), strict=True)
        if row >= 0
    }


def _print_table(made: _Made, measure: str) -> None:
    comparison = made.comparison
    contrasts = {c.system: c for c in comparison.contrasts if c.measure == measure}
    table = Table(
        title=f"{measure}, {len(comparison.query_ids)} {made.judged.name} queries, "
        f"against {comparison.baseline}",
        **_PLAIN,
    )
    table.add_column("system", overflow="fold", min_width=8)
    for name in ("mean", "diff.", "95% interval", "p (Holm)", "won/tied/lost", "ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for system in made.systems:
        mean = f"{comparison.means[system.name][measure].mean:.4f}"
        ms = "" if system.ms_per_query is None else f"{system.ms_per_query:.1f}"
        contrast = contrasts.get(system.name)
        if contrast is None:
            table.add_row(system.name, mean, *[""] * 4, ms)
            continue
        test = contrast.test
        table.add_row(
            system.name,
            mean,
            *_difference(test.difference),
            f"{contrast.p_holm:.4f}",
            f"{test.won}/{test.tied}/{test.lost}",
            ms,
            style=_style(contrast.p_holm, test.difference.mean),
        )
    out.print(table)
    for contrast in contrasts.values():
        say(
            f"{contrast.system}: {_verdict(contrast.p_holm, contrast.test.difference.mean)}; as "
            f"many queries show a true difference of {contrast.test.detectable:.4f} four times "
            "in five"
        )


def _difference(interval: Interval) -> tuple[str, str]:
    return f"{interval.mean:+.4f}", f"{interval.low:+.4f} {interval.high:+.4f}"


def _verdict(p: float, difference: float) -> str:
    if p >= 0.05:
        return "no difference was shown"
    return "better" if difference > 0 else "worse"


def _style(p: float, difference: float) -> str:
    return {"better": "green", "worse": "red"}.get(_verdict(p, difference), "")


def _print_slices(made: _Made) -> None:
    measure = next(iter(made.comparison.means[made.comparison.baseline]))
    for system in made.systems[1:]:
        table = Table(
            box=SIMPLE_HEAD,
            title=f"{system.name} less {made.comparison.baseline}, {measure} by slice",
        )
        for name in ("slice", "group", "queries", "difference", "95% interval"):
            table.add_column(name, justify="left" if name in ("slice", "group") else "right")
        differences_Q = made.comparison.differences(system.name, measure)
        for of in slice_figures(differences_Q, made.comparison.query_ids, made.slices):
            mean, interval = _difference(of.difference)
            table.add_row(of.slice, of.group, str(of.num_queries), mean, interval)
        out.print(table)


def _print_moved(made: _Made, system: System, shown: int) -> None:
    """Prints the queries won and lost most, with the judged documents that moved."""
    comparison, baseline = made.comparison, made.systems[0]
    measure = next(iter(comparison.means[comparison.baseline]))
    differences_Q = comparison.differences(system.name, measure)
    order = np.argsort(-differences_Q, kind="stable")
    won = [int(place) for place in order[:shown] if differences_Q[place] > 0]
    lost = [int(place) for place in order[::-1][:shown] if differences_Q[place] < 0]
    for title, places in (("won", won), ("lost", lost)):
        for place in places:
            query_id = comparison.query_ids[place]
            text = made.judged.texts.get(query_id, "")
            say(f"{system.name} {title} {differences_Q[place]:+.3f}: {query_id} {text}")
            moved = moved_documents(
                baseline.run[query_id],
                system.run[query_id],
                made.judged.relevances.get(query_id, {}),
                MOVED_DEPTH,
            )
            for document in [m for m in moved if m.relevance][:3]:
                say(
                    f"    {_rank(document.rank_before)} → {_rank(document.rank_after)}  "
                    f"{made.titles.get(document.doc_id) or document.doc_id} "
                    f"(relevance {document.relevance})"
                )


def _rank(rank: int | None) -> str:
    return f"past {MOVED_DEPTH}" if rank is None else str(rank)


def tune_settings(
    folder: Folder,
    stage: Annotated[
        str,
        typer.Option(help="fused, or ranked: also the ranker's settings, one training a trial."),
    ] = "fused",
    trials: Annotated[int, typer.Option(help="Of each of the folds + 1 searches.", min=1)] = 60,
    folds: Annotated[int, typer.Option(help="Parts of the training queries.", min=2)] = 5,
    tuned_out: Annotated[
        Path | None,
        typer.Option("--out", metavar="F.toml", help="By default DIR/tuning/tuned.toml."),
    ] = None,
    json: Json = False,
) -> None:
    """Search for better settings on the training queries; writes them, publishes nothing."""
    if stage not in OBJECTIVES:
        raise InputError(f"--stage is '{stage}'; {nearest(stage, OBJECTIVES)}")
    config = load_config(folder)
    judged = load_judged(config, folder, "train")
    with open_collection(folder) as collection, shown_progress() as progress:
        tuned = tune(
            collection,
            judged,
            trials=trials,
            folds=folds,
            seed=config.collection.seed,
            stage=stage,
            progress=progress,
        )
    path = tuned_out or folder / "tuning" / "tuned.toml"
    write_settings(path, tuned.settings)
    plot = path.with_suffix(".svg")
    plot.write_text(search_plot(tuned.trials, "nDCG@10").replace("currentColor", "#555"))
    if json:
        print_json({**asdict(tuned), "settings_file": str(path), "plot": str(plot)})
        return
    gain = tuned.gain.difference
    say(
        f"nDCG@10 of the {stage} order on training queries: {tuned.before:.4f} now, "
        f"{tuned.after:.4f} with settings that did not see them: {gain.mean:+.4f} "
        f"({gain.low:+.4f} to {gain.high:+.4f}, p {tuned.gain.p_randomisation:.4f})"
    )
    for name, value in tuned.settings.items():
        say(f"  {name} = {value:.4g}" if isinstance(value, float) else f"  {name} = {value}")
    then = (
        f"rankwell compare {folder} fused {path}:fused"
        if stage == "fused"
        else f"adopt them in rankwell.toml, then rankwell index {folder} and train ranker"
    )
    say(f"wrote {path} and {plot}; next: {then}")


def register(app: typer.Typer) -> None:
    """Adds these commands."""
    app.command()(compare)
    app.command()(report)
    app.command("tune")(tune_settings)
