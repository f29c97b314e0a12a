"""clang-tidy over every C file of src/ (about five minutes on two processors).

    python3 tools/tidy.py [FILE…]      FILEs as src/x/y.c; none = all. Needs build/asan."""
import os
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/asan"
# Two checks of the families below are wrong for this code: bugprone-suspicious-memory-comparison
# (doubles are compared bit by bit on purpose: NaN payloads and -0 count) and
# bugprone-sizeof-expression (arrays of pointers are allocated and sorted by sizeof(array[0])).
CHECKS = ("-*,clang-analyzer-core.*,clang-analyzer-deadcode.*,clang-analyzer-unix.*,"
          "bugprone-sizeof-*,bugprone-infinite-loop,bugprone-suspicious-*,cert-err34-c,"
          "misc-redundant-expression,portability-*,"
          "-bugprone-suspicious-memory-comparison,-bugprone-sizeof-expression")


def check(name):
    run = subprocess.run(
        ["clang-tidy", "-p", str(BUILD), f"-checks={CHECKS}", "-warnings-as-errors=*", "-quiet", name],
        cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        print(run.stdout[-4000:] or run.stderr[-4000:], flush=True)
    return run.returncode == 0


def main():
    names = sys.argv[1:] or sorted(
        str(path.relative_to(ROOT)) for path in (ROOT / "src").rglob("*.c"))
    if not (BUILD / "compile_commands.json").exists():
        sys.exit(f"clang-tidy: {BUILD} is not set up: ./dev build --asan")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(check, names))
    print(f"clang-tidy: {sum(results)} of {len(names)} files clean")
    return 0 if names and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
