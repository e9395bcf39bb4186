"""The figures of word and document embeddings: words against gensim, strategies, encoders.

    python benchmarks/embeddings.py [--quick]

Each part runs alone too: words.py, strategies.py and encoders.py. --quick takes the samples in
place of the development collections (RANKWELL_DATA). The last line of the output is one JSON
object.
"""

import argparse
import json

import encoders
import strategies
import words


def main() -> None:
    """Runs all parts and prints the JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the samples alone")
    quick = parser.parse_args().quick
    collections = [] if quick else [encoders.DATA / name for name in encoders.COLLECTIONS]
    figures = {
        "words": words.figures(quick),
        "strategies": strategies.figures(quick),
        "encoders": encoders.figures([encoders.SAMPLE, *collections], "test"),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
