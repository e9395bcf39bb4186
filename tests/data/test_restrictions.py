import pytest

from rankwell.data.restrictions import Restrictions, read_query


@pytest.mark.parametrize(
    ("query", "text", "required", "excluded"),
    [
        ("heat transfer", "heat transfer", (), ()),
        ('a "Boundary Layer" flow', "a Boundary Layer flow", (("boundary", "layer"),), ()),
        ("wing -tunnel", "wing ", (), (("tunnel",),)),
        ('wing -"wind tunnel"', "wing ", (), (("wind", "tunnel"),)),
        ("-tunnel wing", " wing", (), (("tunnel",),)),
        ("„heiße Luft“ “a b”", "heiße Luft a b", (("heisse", "luft"), ("a", "b")), ()),
        ('half a "quote', 'half a "quote', (), ()),
        ("well-known 5 - 3 x--y a- --", "well-known 5 - 3 x--y a- --", (), ()),
        ('""', '""', (), ()),
        ('"!!!" wing', "!!! wing", (), ()),
        ("-don't", "", (), (("don't",),)),
        ("-well-known fact", " fact", (), (("well", "known"),)),
    ],
)  # fmt: skip
def test_marks_are_read_and_everything_else_is_text(
    query: str, text: str, required: object, excluded: object
) -> None:
    assert read_query(query) == (text, Restrictions((), required, excluded))  # type: ignore[arg-type]


def test_only_restrictions_that_restrict_are_true() -> None:
    assert not read_query("plain text")[1]
    assert read_query("-a")[1]
    assert Restrictions(({"year": 1904},))
