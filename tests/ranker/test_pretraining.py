"""The ranker that ships: its card says what it learnt from."""

from importlib.resources import files

from rankwell.ranker.pretraining import CARD, SOURCES, _with_table


def test_the_card_that_ships_names_every_source_with_its_licence_and_queries():
    card = (files("rankwell.ranker") / "pretrained" / CARD).read_text(encoding="utf-8")
    learnt = {
        name: int(row.removesuffix(" |").rsplit(" ", 1)[1])
        for row in card.splitlines()
        for name, source in SOURCES.items()
        if row.startswith(f"| {source} | ")
    }
    assert learnt == {"cranfield": 134, "wikipedia": 400, "debian": 379, "articles": 400}
    assert _with_table(card, learnt) == card
    changed = _with_table(card, {"debian": 7})
    assert [line for line in changed.splitlines() if line.endswith(" 7 |")] == [
        f"| {SOURCES['debian']} | 7 |"
    ]
    assert changed.split("\n\n")[-4:] == card.split("\n\n")[-4:]
