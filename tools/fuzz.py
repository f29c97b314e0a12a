"""Runs every fuzzer of a build for a time, two at once, starting from its committed corpus."""
import argparse
import pathlib
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(binary, seconds, found):
    name = binary.name.removeprefix("fuzz_")
    with tempfile.TemporaryDirectory() as work:
        command = [
            str(binary), work, str(ROOT / "tests/fuzz" / name), f"-max_total_time={seconds}",
            "-timeout=20", "-rss_limit_mb=3000", f"-artifact_prefix={found}/{name}-", "-verbosity=0",
            "-print_final_stats=1",
        ]
        start = time.monotonic()
        result = subprocess.run(command, capture_output=True, text=True, errors="replace")
        runs = [line.split()[-1] for line in result.stderr.splitlines() if "number_of_executed" in line]
        took = time.monotonic() - start
        ok = result.returncode == 0
        print(f"{'ok  ' if ok else 'FAIL'} {name}: {runs[0] if runs else '?'} runs in {took:.0f} s", flush=True)
        if not ok:
            print(result.stderr[-3000:])
        return ok


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--seconds", default="60", help="per fuzzer, or total:N shared by all")
    options = parser.parse_args()
    binaries = sorted(p for p in pathlib.Path(options.build).glob("fuzz_*") if p.is_file())
    if not binaries:
        sys.exit("no fuzzers: ./dev fuzz builds them")
    if options.seconds.startswith("total:"):
        seconds = max(5, int(options.seconds[6:]) * 2 // len(binaries))
    else:
        seconds = int(options.seconds)
    found = ROOT / "build/fuzz-found"
    found.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda binary: run(binary, seconds, found), binaries))
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
