"""Texts become words, words become terms, and every highlight lies where its word stands."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankwell.data.analysis import (
    ENGLISH_STOP_WORDS,
    Analyzer,
    normalise,
    sentences,
    words,
)
from rankwell.data.config import AnalysisConfig
from rankwell.data.errors import ConfigError

# Characters that Unicode writes one by one: nothing here depends on its neighbours.
PLAIN_TEXT = st.text(st.sampled_from("abcXYZ019 éÉßœﬁÅ東京ニ한के'\u2019_-.,\n\t€𝒳Ω"), max_size=60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" .,;!? --- ' ", []),
        ("A wing, and a PROP.", ["a", "wing", "and", "a", "prop"]),
        ("don't rock'n'roll 'quoted'", ["don't", "rock'n'roll", "quoted"]),
        ("l\u2019été", ["l'été"]),
        ("snake_case __init__", ["snake", "case", "init"]),
        ("mach 2.5 at 3,000 ft", ["mach", "2", "5", "at", "3", "000", "ft"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("\uff26ull ﬁt", ["full", "fit"]),
        ("cafe\u0301 café", ["café", "café"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("العَرَبِيَّة", ["العَرَبِيَّة"]),
        ("東京tower塔", ["東", "京", "tower", "塔"]),
        ("ひらがな", ["ひ", "ら", "が", "な"]),
        ("x" * 256 + " y", ["x" * 255, "y"]),
    ],
)
def test_words_are_the_surface_forms_in_order(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_normalising_keeps_ascii_and_other_text_alike() -> None:
    assert normalise("WING") == "wing"
    assert normalise("WINGÉ\u2019S") == "wingé's"


@given(
    st.text(max_size=60),
    st.sampled_from(["english", "porter", "french", "german", "arabic", "none"]),
)
def test_no_term_is_empty(text: str, language: str) -> None:
    analyzer = Analyzer.configured(AnalysisConfig(language=language, stop_words="none"))
    surfaces = words(text)
    terms = analyzer.terms(surfaces)
    assert len(terms) == len(surfaces)
    assert all(terms)


@pytest.mark.parametrize(
    ("language", "stop_words", "expected"),
    [
        ("english", "auto", [None, "wing", "fli"]),
        ("porter", "auto", [None, "wing", "fli"]),
        ("english", "none", ["the", "wing", "fli"]),
        ("none", "auto", ["the", "wings", "flies"]),
        ("english", "stop.txt", ["the", None, "fli"]),
        ("none", "stop.txt", ["the", None, "flies"]),
    ],
)
def test_terms_are_stems_and_stop_words_have_none(
    tmp_path: Path, language: str, stop_words: str, expected: list[str | None]
) -> None:
    (tmp_path / "stop.txt").write_text("# in this collection\nWings  # everywhere\n\nof\n")
    analyzer = Analyzer.configured(
        AnalysisConfig(language=language, stop_words=stop_words), tmp_path
    )
    assert analyzer.terms(["the", "wings", "flies"]) == expected


def test_a_query_has_its_distinct_terms_with_counts_first_forms_and_their_sequence() -> None:
    query = Analyzer.configured(AnalysisConfig()).query("The flow of flowing Wings, flows")
    assert query.text == "The flow of flowing Wings, flows"
    assert query.surfaces == ("the", "flow", "of", "flowing", "wings", "flows")
    assert query.terms == ("flow", "wing")
    assert query.counts == (3, 1)
    assert query.forms == ("flow", "wings")
    assert query.sequence == (0, 0, 1, 0)


def test_a_query_of_stop_words_alone_has_words_and_no_terms() -> None:
    query = Analyzer.configured(AnalysisConfig()).query("to be or not to be")
    assert len(query.surfaces) == 6
    assert (query.terms, query.counts, query.forms, query.sequence) == ((), (), (), ())
    assert set(query.surfaces) <= ENGLISH_STOP_WORDS


def analyzer_with_synonyms(folder: Path, lines: str) -> Analyzer:
    (folder / "synonyms.txt").write_text(lines, encoding="utf-8")
    return Analyzer.configured(AnalysisConfig(synonyms="synonyms.txt"), folder)


def test_synonyms_and_their_inflections_are_one_term(tmp_path: Path) -> None:
    analyzer = analyzer_with_synonyms(
        tmp_path, "# vehicles\ncar, Automobile, motorcar # wheels\n\nplane, aircraft\n"
    )
    terms = analyzer.terms(["cars", "automobiles", "motorcar", "planes", "aircraft", "wing"])
    assert terms == ["car", "car", "car", "plane", "plane", "wing"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("car\n", "line 1: expected single words"),
        ("car, automobile\n\nplane,\n", "line 3: expected single words"),
        ("car, motor vehicle\n", "found 'car, motor vehicle'"),
        ("car, automobile\nvehicle, automobile\n", "line 2: 'automobil' is in two groups"),
        ("car, automobile\nautomobile, vehicle\n", "line 2: 'automobil' is in two groups"),
    ],
)
def test_a_synonym_file_is_refused_with_the_line_at_fault(
    tmp_path: Path, lines: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        analyzer_with_synonyms(tmp_path, lines)


@pytest.mark.parametrize("key", ["stop_words", "synonyms"])
@pytest.mark.parametrize(
    ("name", "message"),
    [("absent.txt", "does not exist"), ("latin1.txt", "is not UTF-8 text"), (".", "")],
    ids=["absent", "not UTF-8", "a folder"],
)
def test_a_word_list_that_cannot_be_read_is_a_fault_of_the_configuration(
    tmp_path: Path, key: str, name: str, message: str
) -> None:
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9, bistro\n")
    with pytest.raises(ConfigError, match=rf"\[analysis\] {key} names .*{message}"):
        Analyzer.configured(AnalysisConfig(**{key: name}), tmp_path)  # type: ignore[arg-type]


def test_an_unknown_language_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match=r"'englsh'.*did you mean 'english'"):
        Analyzer.configured(AnalysisConfig(language="englsh"))


def test_the_fingerprint_changes_with_whatever_changes_a_term(tmp_path: Path) -> None:
    (tmp_path / "stop.txt").write_text("wing\n")
    (tmp_path / "synonyms.txt").write_text("car, automobile\n")
    configs = [
        AnalysisConfig(),
        AnalysisConfig(language="german"),
        AnalysisConfig(stop_words="none"),
        AnalysisConfig(stop_words="stop.txt"),
        AnalysisConfig(synonyms="synonyms.txt"),
    ]
    fingerprints = [Analyzer.configured(config, tmp_path).fingerprint for config in configs]
    assert len(set(fingerprints)) == len(configs)
    assert [Analyzer.configured(config, tmp_path).fingerprint for config in configs] == fingerprints


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [""]),
        ("One sentence", ["One sentence"]),
        ("It rose 3.5 m. Then it fell.", ["It rose 3.5 m.", "Then it fell."]),
        ('He said "no." (Why?) Nobody knew!', ['He said "no."', "(Why?)", "Nobody knew!"]),
        ("e.g. the wing, i.e. lift", ["e.g. the wing, i.e. lift"]),
        ("a slipstream . an experiment . ", ["a slipstream .", "an experiment .", ""]),
        ("A title\n\nA text", ["A title", "A text"]),
        ("Wrapped\nlines", ["Wrapped\nlines"]),
        ("Élan. Über alles", ["Élan.", "Über alles"]),
        ("東京。京都。", ["東京。", "京都。", ""]),
    ],
)
def test_sentences_end_where_they_end(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(st.text(st.sampled_from("abcXY 01.!?。\n\t\"'()_-\u0301\u2019é東ΣςK\u00a0"), max_size=60))
def test_the_words_of_the_sentences_are_the_words_of_the_text(text: str) -> None:
    assert [word for sentence in sentences(text) for word in words(sentence)] == words(text)


@given(st.text(max_size=60))
def test_no_text_loses_a_word_to_a_sentence_end(text: str) -> None:
    assert [word for sentence in sentences(text) for word in words(sentence)] == words(text)
