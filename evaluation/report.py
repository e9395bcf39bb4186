"""The comparison as one self-contained HTML page: tables, plots, queries side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from rankwell.data.errors import InputError
from rankwell.evaluation.comparison import Comparison
from rankwell.evaluation.plots import differences_plot, means_plot, pareto_plot, slices_plot
from rankwell.evaluation.runs import Run
from rankwell.evaluation.slices import slice_figures

SHOWN_QUERIES = 10
SHOWN_WON = 5
SHOWN_DOCUMENTS = 10


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What a report tells besides the comparison itself.

    Attributes:
        title: of the page.
        made_at: when.
        command: the command line that makes it again.
        runs: of each system.
        ms_per_query: of each system whose time is known.
        queries: the text of each query.
        relevances: the judged relevance by query and document.
        document_titles: of the documents that may be shown.
        slices: the group of each query, by slice.
        facts: configuration and version fingerprints, by system.
        unjudged: the share of documents among the first ten without a judgment, by system.
    """

    title: str
    made_at: datetime
    command: str
    runs: Mapping[str, Run]
    ms_per_query: Mapping[str, float]
    queries: Mapping[str, str]
    relevances: Mapping[str, Mapping[str, int]]
    document_titles: Mapping[str, str]
    slices: Mapping[str, Mapping[str, str]]
    facts: Mapping[str, Mapping[str, str]]
    unjudged: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ShownDocument:
    """A line of one of two lists side by side."""

    doc_id: str
    title: str
    relevance: int | None
    other_rank: int | None


@dataclass(frozen=True, slots=True)
class ShownQuery:
    """A query whose lists stand side by side."""

    query_id: str
    text: str
    before: float
    after: float
    before_list: tuple[ShownDocument, ...]
    after_list: tuple[ShownDocument, ...]


def render_report(comparison: Comparison, context: ReportContext, seed: int = 0) -> str:
    """Returns the page, by the comparison's first measure where one must lead.

    Raises:
        MissingPackage: matplotlib is not installed.
    """
    measure = next(iter(comparison.means[comparison.baseline]))
    environment = Environment(
        loader=PackageLoader("rankwell.evaluation"), autoescape=True, undefined=StrictUndefined
    )
    others = [system for system in comparison.means if system != comparison.baseline]
    systems = [
        {
            "name": system,
            "differences": differences_plot(
                comparison.differences(system, measure), f"{system} less {comparison.baseline}"
            ),
            "slices": slices_plot(
                slice_figures(
                    comparison.differences(system, measure),
                    comparison.query_ids,
                    context.slices,
                    seed,
                ),
                f"{system} less {comparison.baseline} by slice",
            )
            if context.slices
            else "",
            "won": _shown_queries(comparison, context, system, measure, won=True),
            "worst": _shown_queries(comparison, context, system, measure, won=False),
        }
        for system in others
    ]
    points = {
        system: (ms, comparison.means[system][measure].mean)
        for system, ms in context.ms_per_query.items()
    }
    page: str = environment.get_template("report.html").render(
        comparison=comparison,
        context=context,
        measure=measure,
        measures=list(comparison.means[comparison.baseline]),
        means_plot=means_plot({s: m[measure] for s, m in comparison.means.items()}, measure),
        pareto_plot=pareto_plot(points, measure) if len(points) > 1 else "",
        systems=systems,
        contrasts={(c.system, c.measure): c for c in comparison.contrasts},
    )
    return page


def write_report(path: Path, page: str) -> None:
    """Writes the page.

    Raises:
        InputError: the folder does not exist or cannot be written to.
    """
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"the report {path} cannot be written: {error.strerror}") from None


def _shown_queries(
    comparison: Comparison, context: ReportContext, system: str, measure: str, *, won: bool
) -> list[ShownQuery]:
    """Returns the queries won most, or lost most and then those that stay worst, side by side."""
    after_Q = comparison.values[system][measure]
    before_Q = comparison.values[comparison.baseline][measure]
    if won:
        order = np.argsort(before_Q - after_Q, kind="stable")[:SHOWN_WON]
        order = order[after_Q[order] > before_Q[order]]
    else:
        order = np.lexsort((after_Q, after_Q - before_Q))[:SHOWN_QUERIES]
    shown = []
    for place in order:
        query_id = comparison.query_ids[int(place)]
        lists = [
            context.runs[name].get(query_id, ())[:SHOWN_DOCUMENTS]
            for name in (comparison.baseline, system)
        ]
        shown.append(
            ShownQuery(
                query_id,
                context.queries.get(query_id, ""),
                float(before_Q[place]),
                float(after_Q[place]),
                _shown_list(lists[0], lists[1], query_id, context),
                _shown_list(lists[1], lists[0], query_id, context),
            )
        )
    return shown


def _shown_list(
    run: Sequence[str], other: Sequence[str], query_id: str, context: ReportContext
) -> tuple[ShownDocument, ...]:
    ranks = {doc_id: place + 1 for place, doc_id in enumerate(other)}
    relevance = context.relevances.get(query_id, {})
    return tuple(
        ShownDocument(
            doc_id,
            context.document_titles.get(doc_id, ""),
            relevance.get(doc_id),
            ranks.get(doc_id),
        )
        for doc_id in run
    )
