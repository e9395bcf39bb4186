from urllib.parse import parse_qs, urlsplit

import pytest

from rankwell.data.errors import FilterError
from rankwell.serving.page_query import PageQuery


def asked(link: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}


def test_a_link_keeps_the_search_and_begins_at_its_first_page() -> None:
    query = PageQuery("a wing", sort="-year", collapse=True, cursor="abc")
    assert asked(query.link()) == {"q": "a wing", "sort": "-year", "collapse": "1"}
    assert asked(query.link(cursor="x", sort="")) == {"q": "a wing", "collapse": "1", "cursor": "x"}


def test_values_are_put_into_the_filter_and_taken_out_again() -> None:
    one = PageQuery("wing", '{"year":1904}')
    assert asked(one.toggled("kind", "a"))["filter"] == '{"year":1904,"kind":"a"}'
    assert asked(one.toggled("year", 1905))["filter"] == '{"year":{"any":[1904,1905]}}'
    assert "filter" not in asked(one.toggled("year", 1904))
    two = PageQuery("wing", '{"year":{"any":[1904,1905]}}')
    assert two.chosen("year") == [1904, 1905]
    assert asked(two.toggled("year", 1904))["filter"] == '{"year":1905}'
    assert "filter" not in asked(two.without("year"))


def test_a_range_is_replaced_by_the_value_that_is_chosen() -> None:
    query = PageQuery("wing", '{"year":{"gte":1900}}')
    assert query.chosen("year") == []
    assert asked(query.toggled("year", 1904))["filter"] == '{"year":1904}'


def test_a_filter_that_is_not_json_is_said_to_be_the_fault() -> None:
    with pytest.raises(FilterError, match="not JSON"):
        _ = PageQuery("wing", "{").conditions
