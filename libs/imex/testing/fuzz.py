"""A coverage-guided run over the parsers: `python -m imex.testing.fuzz [--seconds 60] [PARSER...]`.

Each parser runs in a process of its own, as libFuzzer ends with it. Inputs that reach new code go into the
corpus, which is merged at the end to the smallest set that reaches as much; what makes a parser fail is kept
as `crash-…` beside them and makes this exit with 1. Needs atheris (`tests/fuzz/requirements.lock`).
"""

import argparse
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

SECONDS = 60
LONGEST = 4096
"""Bytes of an input; the parsers' own limits are far above, and what is near them has its own tests."""
SLOWEST_S = 5
MEMORY_MIB = 1024
CHILD = "IMEX_FUZZED_PARSER"
"""Tells a process what to fuzz: libFuzzer starts others of its kind with arguments of its own."""
PROGRAM = "IMEX_FUZZER"
"""And this is how it starts them: a program, where Python would need two words."""


def main() -> int:
    """Fuzz what the command line says; 1 when something was found."""
    if CHILD in os.environ:
        _fuzz(os.environ[CHILD])
    arguments = argparse.ArgumentParser(prog="python -m imex.testing.fuzz", description=__doc__)
    arguments.add_argument("--seconds", type=int, default=SECONDS, help="for each parser")
    arguments.add_argument("--corpus", type=Path, default=Path("tests/fuzz/corpus"))
    arguments.add_argument("parsers", nargs="*")
    chosen = arguments.parse_args()
    from imex.testing.fuzzing import PARSERS, seeds

    found = []
    for name in chosen.parsers or PARSERS:
        corpus = chosen.corpus / name
        corpus.mkdir(parents=True, exist_ok=True)
        for seed in seeds(name):
            (corpus / sha256(seed).hexdigest()[:16]).write_bytes(seed)
        if not _run(name, corpus, chosen.seconds):
            found.append(name)
        if not _merge(name, corpus):
            found.append(name)
    if found:
        sys.stderr.write(f"found something in: {', '.join(dict.fromkeys(found))}\n")
    return 1 if found else 0


def _run(name: str, corpus: Path, seconds: int) -> bool:
    bounds = (f"-max_len={LONGEST}", f"-timeout={SLOWEST_S}", f"-rss_limit_mb={MEMORY_MIB}")
    where = (f"-artifact_prefix={corpus}/crash-", f"-max_total_time={seconds}", "-print_final_stats=1")
    return _child(name, *bounds, *where, str(corpus))


def _merge(name: str, corpus: Path) -> bool:
    """Keep the smallest set of inputs that reaches what all of them reach, and what was found before."""
    with tempfile.TemporaryDirectory() as scratch:
        merged = Path(scratch) / "merged"
        merged.mkdir()
        if not _child(name, "-merge=1", str(merged), str(corpus)):
            return False
        for old in corpus.iterdir():
            if not old.name.startswith("crash-"):
                old.unlink()
        for new in merged.iterdir():
            content = new.read_bytes()
            (corpus / sha256(content).hexdigest()[:16]).write_bytes(content)
    return True


def _child(name: str, *options: str) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / "fuzzer"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n')
        program.chmod(0o700)
        environment = {**os.environ, CHILD: name, PROGRAM: str(program)}
        return subprocess.run((str(program), *options), env=environment, check=False).returncode == 0


def _fuzz(name: str) -> None:
    import atheris

    with atheris.instrument_imports(
        include=["imex.dimse", "imex.dicom", "imex.dicomweb", "imex.testing.fuzzing"]
    ):
        from imex.testing.fuzzing import PARSERS
    atheris.Setup([os.environ[PROGRAM], *sys.argv[1:]], PARSERS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
