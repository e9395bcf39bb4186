import pytest

from rankwell.data.records import Explanation, WordMatch
from rankwell.serving.reasons import SHOWN_FEATURES, Bar, reasons_of


def test_scores_are_bars_beside_the_best_of_the_page() -> None:
    found = reasons_of(
        [Explanation("a", {"lexical": 0.5, "fused": 2.0}, {}), Explanation("b", {"fused": 1.0}, {})]
    )
    assert found["a"].scores == (Bar("lexical", 0.5, 0.0, 100.0), Bar("fused", 2.0, 0.0, 100.0))
    assert found["b"].scores == (Bar("fused", 1.0, 0.0, 50.0),)
    assert found["a"].features == ()


def test_features_go_right_above_the_mean_and_left_below_it_largest_first() -> None:
    explanations = [
        Explanation(name, {}, {"same": 1.0, "idf": idf, "length": length})
        for name, idf, length in (
            ("a", 3.0, 0.0),
            ("b", 1.0, 0.0),
            ("c", 1.0, 1.0),
            ("d", 1.0, 1.0),
        )
    ]
    bars = reasons_of(explanations)["a"].features
    # idf: mean 1.5, deviation .866, so 1.732 of them; length: mean .5, deviation .5, so one
    assert [bar.name for bar in bars] == ["idf", "length", "same"]
    assert (bars[0].start, bars[0].above) == (50.0, True)
    assert bars[0].width == pytest.approx(1.732 / 3 * 50, abs=0.06)
    assert bars[1] == Bar("length", 0.0, pytest.approx(33.3), pytest.approx(16.7), False)
    assert bars[2].width == 0


def test_what_makes_up_the_lead_goes_right_for_the_hit_and_left_against_it() -> None:
    parts = {"idf": 0.4, "length": -0.1} | {f"f{n}": 0.01 for n in range(20)}
    bars = reasons_of([Explanation("a", {}, {}, moved=parts)])["a"].moved
    assert len(bars) == SHOWN_FEATURES
    assert bars[0] == Bar("idf", 0.4, 50.0, 50.0, True)
    assert bars[1] == Bar("length", -0.1, 37.5, 12.5, False)


def test_a_hit_without_features_stands_beside_those_that_have_some() -> None:
    found = reasons_of([Explanation("a", {}, {"idf": 1.0}), Explanation("b", {}, {})])
    assert [bar.name for bar in found["a"].features] == ["idf"]
    assert (found["b"].features, found["b"].moved) == ((), ())


def test_only_the_features_that_stand_out_are_shown_and_no_page_has_none() -> None:
    many = {f"f{n}": float(n) for n in range(50)}
    none = dict.fromkeys(many, 0.0)
    found = reasons_of([Explanation("a", {}, many), Explanation("b", {}, none)])
    assert len(found["a"].features) == SHOWN_FEATURES
    assert reasons_of([]) == {}


def test_words_are_named_with_the_term_that_they_are_most_like() -> None:
    matches = {
        "lift": {"lift": WordMatch(1, "exact", 0.2), "drag": WordMatch(0.6, "kernel_0.5", -0.4)},
        "wing": {"drag": WordMatch(0.7, "kernel_0.7", -0.4)},
        "tail": {},
    }
    found = reasons_of([Explanation("a", {}, {}, words=matches)])["a"].words
    assert found == (
        Bar("drag (like wing, kernel_0.7)", -0.4, 0.0, 50.0, False),
        Bar("lift", 0.2, 50.0, 25.0, True),
    )
    unmoved = {"lift": {"lift": WordMatch(1, "exact", 0.0)}}
    assert reasons_of([Explanation("a", {}, {}, words=unmoved)])["a"].words[0].width == 0
