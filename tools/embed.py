"""Writes the files of the page as C arrays: embed.py OUTPUT FILE…"""
import pathlib
import sys

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}


def main():
    output, *files = sys.argv[1:]
    text = ['#include "api/page.h"\n']
    rows = []
    for number, name in enumerate(files):
        path = pathlib.Path(name)
        data = path.read_bytes()
        body = ",".join(str(byte) for byte in data)
        text.append(f"static const unsigned char data_{number}[] = {{{body}}};\n")
        url = "/" if path.name == "index.html" else "/" + path.name
        rows.append(f'    {{ "{url}", "{TYPES[path.suffix]}", data_{number}, sizeof(data_{number}) }},\n')
    text.append("const struct hk_page_file hk_page_files[] = {\n" + "".join(rows) + "};\n")
    text.append("const unsigned hk_page_file_count = sizeof(hk_page_files) / sizeof(hk_page_files[0]);\n")
    pathlib.Path(output).write_text("".join(text))


main()
