"""Broken input for one parser of tests/helpers/fuzz.py, chosen by what code it reaches (atheris, on libFuzzer).

    pip install atheris==3.0.0
    PYTHONPATH=. python tests/helpers/fuzz_coverage.py "workbook csv" -runs=20000 -seed=1

It ends at the first input that is neither read nor refused with a message, and writes it as ``crash-*``.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["merflow"]):
    import fuzz

    from merflow.errors import MerflowError


def main(name: str, *options: str) -> None:
    """Try inputs on the parser called ``name``, with libFuzzer's own options; does not return."""
    folder = Path(tempfile.mkdtemp())
    seeds, parse = fuzz.targets(folder)[name]
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)

    def one(data: bytes) -> None:
        try:
            parse(data)
        except MerflowError as error:
            assert str(error)

    # libFuzzer's default limit of 1 MB would cut the longest seeds, which could then not be read.
    longest = f"-max_len={max(map(len, seeds)) + 4096}"
    atheris.Setup([sys.argv[0], str(corpus), longest, *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
