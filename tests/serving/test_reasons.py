import pytest

from rankwell.data.records import Explanation
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


def test_only_the_features_that_stand_out_are_shown_and_no_page_has_none() -> None:
    many = {f"f{n}": float(n) for n in range(50)}
    none = dict.fromkeys(many, 0.0)
    found = reasons_of([Explanation("a", {}, many), Explanation("b", {}, none)])
    assert len(found["a"].features) == SHOWN_FEATURES
    assert reasons_of([]) == {}
