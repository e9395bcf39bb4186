from rankwell.data.records import Document
from rankwell.ranker.similar import MAX_WORDS, characteristic_words


def test_the_rarest_and_most_repeated_words_come_first_and_single_ones_not(forward_of, analyzer):
    documents = [("", "the common wing"), ("", "common wing turbine"), ("", "common turbines")]
    forward = forward_of(*documents, ("", "common"), ("", "unique"))
    document = Document("7", "wings and common things; turbine, unique", "Turbines")
    # turbine and wing: two documents each, the first twice here; unique: one document alone
    assert characteristic_words(document, analyzer, forward) == ["turbines", "wings", "common"]


def test_a_document_without_words_has_none_and_a_long_one_not_too_many(forward_of, analyzer):
    words = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(100)]
    forward = forward_of(("", " ".join(words)), ("", " ".join(words)))
    assert characteristic_words(Document("1", "!!! the"), analyzer, forward) == []
    found = characteristic_words(Document("2", " ".join(words)), analyzer, forward)
    assert len(found) == MAX_WORDS
