"""The commands that explore trained words: neighbours, analogy, accuracy, export, map."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rankwell.data.errors import InputError
from rankwell.data.terminal import Folder, Json, out, print_json, say
from rankwell.data.versions import ENCODER, VersionStore
from rankwell.embeddings.encoder_files import read_words
from rankwell.embeddings.vector_files import write_binary, write_text
from rankwell.embeddings.word_accuracy import (
    MOST_FREQUENT,
    Analogies,
    Section,
    analogy_accuracy,
    read_measure,
    similarity_correlation,
)
from rankwell.embeddings.word_map import word_map
from rankwell.embeddings.word_vectors import Neighbour, WordVectors


class Method(StrEnum):
    """How an analogy is answered."""

    add = "3cosadd"
    multiply = "3cosmul"


class Form(StrEnum):
    """The forms of word2vec's files."""

    text = "text"
    binary = "binary"


Words = Annotated[list[str], typer.Argument(metavar="WORD...", help="Words, or phrases in quotes.")]
Wanted = Annotated[int, typer.Option("-k", min=1, help="How many words.")]
How = Annotated[Method, typer.Option(help="Sum of cosines, or product (Levy and Goldberg 2014).")]

app = typer.Typer(
    help="Explore the words that were trained on the documents.", no_args_is_help=True
)


@app.command()
def neighbours(folder: Folder, words: Words, k: Wanted = 10, json: Json = False) -> None:
    """Show the words that are used most like a word."""
    vectors = open_word_vectors(folder)
    found = {word: vectors.neighbours(word, k) for word in words}
    if json:
        print_json({word: [asdict(near) for near in nearest] for word, nearest in found.items()})
        return
    for word, nearest in found.items():
        _print_neighbours(word, nearest)


@app.command()
def analogy(
    folder: Folder,
    a: Annotated[str, typer.Argument(metavar="A")],
    b: Annotated[str, typer.Argument(metavar="B")],
    c: Annotated[str, typer.Argument(metavar="C")],
    k: Wanted = 5,
    method: How = Method.add,
    json: Json = False,
) -> None:
    """Show what is to C as B is to A: man king woman gives queen."""
    vectors = open_word_vectors(folder)
    found = vectors.analogy(a, b, c, k, multiply=method is Method.multiply)
    if json:
        print_json({"method": method, "answers": [asdict(near) for near in found]})
    else:
        _print_neighbours(f"{a} : {b} = {c} : ?", found)


@app.command()
def accuracy(
    folder: Folder,
    file: Annotated[
        Path, typer.Argument(help="Analogies (questions-words.txt) or similarities (WordSim-353).")
    ],
    method: How = Method.add,
    most_frequent: Annotated[
        int, typer.Option(min=1, help="Answer analogies from so many of the words.")
    ] = MOST_FREQUENT,
    json: Json = False,
) -> None:
    """Measure the words by a file of analogies, by section, or of similarities, by Spearman."""
    measure = read_measure(file)
    vectors = open_word_vectors(folder)
    if isinstance(measure, Analogies):
        multiply = method is Method.multiply
        sections = analogy_accuracy(
            vectors, measure, most_frequent=most_frequent, multiply=multiply
        )
        _print_sections(sections, json)
        return
    outcome = similarity_correlation(vectors, measure)
    if json:
        print_json(asdict(outcome))
    else:
        say(
            f"Spearman {outcome.spearman:.4f} (p {outcome.p_value:.1e}) over {outcome.pairs} "
            f"pairs; {outcome.unknown} with a word without a vector were left out"
        )


@app.command()
def export(
    folder: Folder,
    out_file: Annotated[Path, typer.Option("--out", metavar="F", help="The file to write.")],
    form: Annotated[Form, typer.Option(help="word2vec's text or binary form.")] = Form.text,
) -> None:
    """Write the vectors as word2vec does: gensim and others read them."""
    vectors = open_word_vectors(folder)
    write = write_binary if form is Form.binary else write_text
    write(vectors, out_file)
    say(f"wrote {len(vectors.words):,} words to {out_file}")


@app.command(name="map")
def map_(
    folder: Folder,
    words: Words,
    out_file: Annotated[Path, typer.Option("--out", metavar="F", help="The .svg file to write.")],
    k: Annotated[int, typer.Option("-k", min=0, help="Neighbours of each word.")] = 10,
) -> None:
    """Draw words and their neighbours in two dimensions."""
    if out_file.suffix != ".svg":
        raise InputError(f"the map is an SVG picture, and --out is {out_file}; name it .svg")
    out_file.write_text(word_map(open_word_vectors(folder), words, k), encoding="utf-8")
    say(f"wrote {out_file}; a browser shows it")


def open_word_vectors(folder: Path) -> WordVectors:
    """Opens the trained words of a collection's live version.

    Raises:
        NotFound: nothing is published yet.
        DamagedVersion: the encoder cannot be opened.
    """
    return read_words(VersionStore(folder).open().folder / ENCODER)


def register(parent: typer.Typer) -> None:
    """Adds this package's commands."""
    parent.add_typer(app, name="words")


def _print_neighbours(title: str, nearest: list[Neighbour]) -> None:
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    for near in nearest:
        table.add_row(near.word, f"{near.similarity:.3f}")
    out.print(table)


def _print_sections(sections: list[Section], json: bool) -> None:
    total = Section(
        "total",
        sum(section.correct for section in sections),
        sum(section.asked for section in sections),
        sum(section.unknown for section in sections),
    )
    rows = [{**asdict(s), "accuracy": s.accuracy} for s in (*sections, total)]
    if json:
        print_json({"sections": rows[:-1], "total": rows[-1]})
        return
    table = Table("section", box=None, pad_edge=False)
    for name in ("accuracy", "correct", "asked", "left out"):
        table.add_column(name, justify="right")
    for s in (*sections, total):
        table.add_row(
            s.name, f"{s.accuracy:.1%}", f"{s.correct:,}", f"{s.asked:,}", f"{s.unknown:,}"
        )
    out.print(table)
