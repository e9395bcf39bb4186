import pytest

from rankwell.data.config import VectorsConfig
from rankwell.data.errors import ConfigError
from rankwell.indexer.dense.kinds import plan_index


@pytest.mark.parametrize(
    ("num_vectors", "dimensions", "memory_mb", "kind", "factory"),
    [
        (1, 384, 8000, "exact", "SQfp16"),
        (390_000, 384, 8000, "exact", "SQfp16"),
        (400_000, 384, 8000, "ivf", "IVF2048,SQ8"),
        (1_000_000, 384, 8000, "ivf", "IVF4096,SQ8"),
        (1_000_000, 384, 392, "ivf", "IVF4096,SQ8"),
        (1_000_000, 384, 391, "ivf", "IVF4096,PQ96x4fs"),
        (1_000_000, 384, 55, "ivf", "IVF4096,PQ48x4fs"),
        (100_000, 100, 40, "exact", "Flat"),
        (100_000, 100, 39, "ivf", "IVF1024,SQ8"),
        (100_000, 100, 2, "ivf", "IVF1024,PQ20x4fs"),
        (20_000_000, 768, 8000, "ivf", "IVF16384,PQ192x4fs"),
    ],
)
def test_auto_goes_by_number_length_and_memory(
    num_vectors: int, dimensions: int, memory_mb: int, kind: str, factory: str
) -> None:
    plan = plan_index(VectorsConfig(memory_mb=memory_mb), num_vectors, dimensions)
    assert (plan.kind, plan.factory) == (kind, factory)


def test_the_reason_has_the_figures() -> None:
    few, many = (plan_index(VectorsConfig(memory_mb=4000), n, 384) for n in (1000, 1_000_000))
    assert few.reason == "1,000 vectors of 384 dimensions are few enough to compare all of them"
    assert many.reason == (
        "1,000,000 vectors of 384 dimensions are too many to compare all; 392 MB of SQ8 fit into "
        "4,000 MB"
    )


def test_no_index_fits_into_too_little_memory() -> None:
    with pytest.raises(ConfigError, match=r"need 32 MB even in the smallest index, .* leaves 20;"):
        plan_index(VectorsConfig(memory_mb=20), 1_000_000, 384)


@pytest.mark.parametrize(
    ("index", "factory"),
    [("exact", "Flat"), ("hnsw", "HNSW32,SQ8"), ("ivf", "IVF512,SQ8"), ("PQ6", "PQ6")],
)
def test_what_is_asked_for_is_made(index: str, factory: str) -> None:
    plan = plan_index(VectorsConfig(index=index), 20_000, 12)
    assert plan.factory == factory
    assert plan.reason == "20,000 vectors of 12 dimensions; [vectors] index asks for it"
    assert plan.kind == ("" if index == "PQ6" else index)


def test_there_are_no_more_lists_than_vectors_fill() -> None:
    factories = [plan_index(VectorsConfig(index="ivf"), n, 8).factory for n in (1, 100, 1000)]
    assert factories == ["IVF1,SQ8", "IVF2,SQ8", "IVF16,SQ8"]
