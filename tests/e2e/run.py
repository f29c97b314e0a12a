"""Runs the end-to-end tests: every function test_* of every test_*.py beside this file, and with
--full the functions full_* (the shows at full size). Last line: "N passed, N failed"."""
import argparse
import importlib
import inspect
import os
import pathlib
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hark", required=True)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("name", nargs="?", default="")
    options = parser.parse_args()
    sys.path.insert(0, str(HERE))
    import harness
    harness.BINARY = pathlib.Path(options.hark).resolve()
    prefix = "full_" if options.full else "test_"
    passed = failed = 0
    for path in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(path.stem)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if not name.startswith(prefix) or options.name not in f"{path.stem}.{name}":
                continue
            start = time.monotonic()
            try:
                function()
                passed += 1
                verdict = "ok"
            except Exception:
                traceback.print_exc(file=sys.stdout)
                failed += 1
                verdict = "FAILED"
            print(f"{verdict} {path.stem}.{name} ({time.monotonic() - start:.1f} s)", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.stdout.flush()
    os._exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
