import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clusters import clustered
from numpy.typing import NDArray

from rankwell.data.config import VectorsConfig
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.dense.library import knob, load_faiss, takes_selectors

# a wrong bit in an index must not crash whoever opens it; a crash would end the tests too
FLIPS = """
    import random, resource, sys
    from pathlib import Path
    import numpy as np
    from rankwell.data.errors import DamagedVersion
    from rankwell.indexer.dense.engine import FaissEngine
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))  # sizes may come out as anything
    folder, queries_QD = Path(sys.argv[1]), np.random.default_rng(0).normal(size=(2, 32))
    path, draws = folder / "index.faiss", random.Random(0)
    whole, refused = path.read_bytes(), 0
    for number in range(int(sys.argv[2])):
        content = bytearray(whole)
        # the first bytes say how long everything is
        place = draws.randrange(300 if number % 2 else len(content))
        content[place] ^= 1 << draws.randrange(8)
        path.unlink()
        path.write_bytes(content)
        try:
            engine = FaissEngine(folder)
            engine.search(queries_QD.astype(np.float32), 20)
        except DamagedVersion:
            refused += 1
        except (RuntimeError, IndexError):  # what the vectors themselves say is no crash
            pass
    print(refused)
"""


@pytest.mark.parametrize("index", ["hnsw", "ivf"])
def test_a_wrong_bit_in_an_index_crashes_nobody(saved: Callable[..., Path], index: str) -> None:
    folder = saved(clustered(150))
    FaissEngine.build(folder, None, VectorsConfig(index=index)).close()
    command = [sys.executable, "-c", textwrap.dedent(FLIPS), str(folder), "40"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 1


@pytest.mark.parametrize(
    ("factory", "name", "filters"),
    [
        ("SQfp16", "", True),
        ("IVF4,SQ8", "nprobe", True),
        ("PCA8,IVF4,SQ8", "nprobe", True),
        ("HNSW8,SQ8", "efSearch", True),
        ("IVF4,PQ8x4,RFlat", "nprobe", True),
        ("PQ8x4", "", False),
    ],
)
def test_what_an_index_can_be_told(factory: str, name: str, filters: bool) -> None:
    faiss = load_faiss()
    vectors_PD: NDArray[np.float32] = clustered(300)
    index = faiss.index_factory(32, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors_PD)
    index.add(vectors_PD)
    assert (knob(faiss, index), takes_selectors(faiss, index)) == (name, filters)
