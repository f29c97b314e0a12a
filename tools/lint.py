"""Checks of the house: layers, format, style, headers. Prints findings and "N passed, N failed"."""
import pathlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
BANNED = re.compile(
    r"(?<![\w.>])(malloc|calloc|realloc|free|strcpy|strcat|sprintf|vsprintf|strtok|gmtime|localtime"
    r"|atoi|atol|atof|gets|alloca|setjmp|longjmp|system|popen|rand|srand)\s*\(")
BANNED_FREE_FOLDERS = {"base", "os"}
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 1200


def sources(*suffixes):
    for top in ("src", "tests", "bench"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in suffixes:
                yield path


def strip_comments_and_strings(text):
    """Blanks block comments and literals, keeps line numbers."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def layers():
    level = {}
    for line in (SRC / "LAYERS").read_text().splitlines():
        if line and not line.startswith("#"):
            number, *folders = line.split()
            level.update({folder: int(number) for folder in folders})
    bad = []
    for path in sorted(SRC.rglob("*")):
        if path.suffix not in (".c", ".h", ".cc", ".def"):
            continue
        here = path.relative_to(SRC).parts[0]
        is_test = path.stem.endswith(("_test", "_fuzz"))
        for number, text in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+"([^"/]+)/([^"]+)"', text)
            if not match:
                continue
            there, name = match.groups()
            wrong = there != here and (
                level.get(there, 99) >= level[here] or name.endswith("_internal.h"))
            if wrong and not is_test:
                bad.append(f"{path}:{number}: {here} may not include {there}/{name}")
    return bad


def functions(lines):
    """Pairs (first line, last line) of function definitions, by the project's formatting."""
    start = None
    for index, line in enumerate(lines):
        if start is None and re.match(r"^[A-Za-z_].*", line) and not re.match(
                r"^(struct|union|enum|typedef|static const|extern|#)[^()]*$", line):
            start = index
        if start is not None and line.rstrip().endswith(";") and "{" not in "".join(lines[start:index + 1]):
            start = None
        if line.startswith("}"):
            if start is not None and line.rstrip() == "}":
                yield start, index
            start = None


def style():
    bad = []
    for path in sources(".c", ".h", ".cc"):
        text = path.read_text()
        plain = strip_comments_and_strings(text)
        lines = text.splitlines()
        if len(lines) > FILE_LINES_MAX:
            bad.append(f"{path}: {len(lines)} lines, at most {FILE_LINES_MAX}")
        for number, line in enumerate(lines, 1):
            if len(line) > 100:
                bad.append(f"{path}:{number}: line of {len(line)} characters")
            if re.search(r"\b(FIXME|TODO|XXX)\b", line):
                bad.append(f"{path}:{number}: unfinished thought")
        folder = path.relative_to(ROOT).parts
        for number, line in enumerate(plain.splitlines(), 1):
            if "//" in line:
                bad.append(f"{path}:{number}: use block comments")
            allowed = folder[0] != "src" or folder[1] in BANNED_FREE_FOLDERS
            if not allowed and BANNED.search(line):
                bad.append(f"{path}:{number}: banned call {BANNED.search(line).group(1)}")
        if path.suffix == ".c":
            for first, last in functions(plain.splitlines()):
                length = last - first + 1
                body = "\n".join(lines[max(0, first - 3):last + 1])
                if length > FUNCTION_LINES_MAX and "flat switch" not in body:
                    bad.append(f"{path}:{first + 1}: function of {length} lines")
    return bad


def headers():
    def check(path):
        name = path.relative_to(SRC)
        run = subprocess.run(
            ["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", f"-I{SRC}", f"-I{ROOT}/tests",
             f"-I{ROOT}/include", "-fsyntax-only", "-x", "c", "-"],
            input=f'#include "{name}"\n', capture_output=True, text=True)
        return [] if run.returncode == 0 else [f"{path}: does not compile alone\n{run.stderr[:500]}"]
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(check, sorted(SRC.rglob("*.h")))
    return [line for result in results for line in result]


def formatting():
    files = [str(path) for path in sources(".c", ".h", ".cc")]
    run = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], capture_output=True, text=True)
    return [line for line in run.stderr.splitlines() if "error:" in line][:40]


def words():
    """The project speaks of itself alone."""
    bad = []
    pattern = re.compile(r"/work/|\.library|farm-|helper session", re.I)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    for name in listed.splitlines():
        path = ROOT / name
        if name == "tools/lint.py" or not path.is_file():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                bad.append(f"{name}:{number}: speaks of a place outside of the project")
    return bad


def main():
    checks = [layers, style, headers, formatting, words]
    failed = 0
    for check in checks:
        found = check()
        for line in found[:60]:
            print(line)
        print(f"{check.__name__}: {'ok' if not found else str(len(found)) + ' findings'}")
        failed += bool(found)
    print(f"{len(checks) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
