"""A service in use for a while: two processes, steady searches, versions that swap under them."""

import json
import subprocess
import sys
from pathlib import Path

SERVING = Path(__file__).parents[2] / "benchmarks" / "serving.py"


def test_a_service_answers_all_while_versions_swap_and_lets_go_of_the_old_ones(
    cranfield_copy: Path,
) -> None:
    soak = "--parts=none --soak=0.1 --rate=15 --swap=2.5 --between=000002,000001"
    command = [sys.executable, SERVING, "--collection", cranfield_copy, *soak.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["soak"]
    assert found["swaps"] == 2
    assert set(found["load"]["statuses"]) == {"200"}  # none failed, was refused, or went unranked
    assert found["load"]["statuses"]["200"] > 50
    assert found["versions_mapped_at_the_end"] == ["000002"]
    assert found["growth"] < 0.15, found
