from rankwell.data.records import Hit, SearchResult
from rankwell.serving.sides import Side, compared


def side(name: str, *doc_ids: str) -> Side:
    hits = tuple(Hit(rank + 1, doc_id, 1.0, "", "", {}) for rank, doc_id in enumerate(doc_ids))
    return Side(name, SearchResult("1", "q", 1.0, (), (), hits))


def test_each_hit_says_how_far_it_is_from_its_rank_on_the_other_side() -> None:
    one, other = compared([side("fused", "a", "b", "c", "d"), side("ranked", "c", "b", "x", "a")])
    assert one.moves == ("↑ 3", "", "↓ 2", "only here")
    assert other.moves == ("↑ 2", "", "only here", "↓ 3")


def test_one_side_alone_has_no_differences() -> None:
    assert compared([side("ranked", "a", "b")])[0].moves == ("", "")
