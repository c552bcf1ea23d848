"""Read files of rows with a delimiter: CSV, TSV, semicolons, bars; also compressed with gzip.

The standard library's ``csv`` finds the cells and names the line. Columns are packed while reading (a string per 8,192
cells) and turned into arrays one by one, so a file needs about its own size in memory beside the arrays.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import gzip
import io
import os
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from chainrule.data.columns import SEPARATOR, Column, Rows, column_from_chunks
from chainrule.errors import ArgumentError, DataError

DELIMITERS = (",", ";", "\t", "|")
_ROWS_PER_CHUNK = 8192
_SAMPLE = 1 << 16  # characters that the delimiter is found from
_SIGNATURES = {
    b"PK\x03\x04": "a spreadsheet (.xlsx) or a zip file",
    b"\xd0\xcf\x11\xe0": "a spreadsheet (.xls)",
    b"PAR1": "a Parquet file",
}


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a file held: columns by name, and the line on which each row starts."""

    columns: dict[str, Column]
    lines: Rows
    source: str


@dataclass(frozen=True, slots=True)
class _Format:
    """How the characters of a file make cells."""

    path: str
    encoding: str
    delimiter: str
    quote: str | None

    @property
    def name(self) -> str:
        return os.path.basename(self.path)


def read_delimited(
    path: str,
    *,
    header: bool,
    delimiter: str | None,
    encoding: str,
    decimal: str,
    quote: str | None,
    missing: frozenset[str],
    as_text: Collection[str],
) -> Parsed:
    """Read a file into columns; see ``read_table`` for the arguments."""
    name = os.path.basename(path)
    for argument, value in (("delimiter", delimiter), ("decimal", decimal), ("quote", quote)):
        if value is not None and len(value) != 1:
            raise ArgumentError(f"{argument}={value!r}", expected="one character")
    encoding = _encoding(path, encoding)
    if delimiter is None:
        delimiter = _find_delimiter(path, encoding, quote)
    form = _Format(path, encoding, delimiter, quote)
    try:
        names, chunks, lines = _read_rows(form, header=header)
    except UnicodeDecodeError:
        raise _wrong_encoding(path, encoding) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{name}: the compressed file is damaged or cut short ({error})", fix="get it again") from None
    columns = {
        column: column_from_chunks(packed, missing=missing, decimal=decimal, as_text=column in as_text)
        for column, packed in zip(names, chunks, strict=True)
    }
    return Parsed(columns, lines, name)


def _read_rows(form: _Format, *, header: bool) -> tuple[list[str], list[list[str]], Rows]:
    with _open(form) as text:
        rows = _numbered_rows(form, text)
        first_line, first = next(rows, (0, []))
        if not first:
            raise DataError(f"{form.name}: the file is empty", expected="rows of cells")
        names = _names(form, first_line, first) if header else [str(index) for index in range(len(first))]
        chunks: list[list[str]] = [[] for _ in names]
        starts: list[int] = []
        waiting: list[list[str]] = [] if header else [first]
        if not header:
            starts.append(first_line)
        for line, row in rows:
            if len(row) != len(names):
                raise _ragged(form, line, row, len(names), first_line, header=header)
            waiting.append(row)
            starts.append(line)
            if len(waiting) == _ROWS_PER_CHUNK:
                _pack(form, waiting, chunks)
                waiting = []
        if waiting:
            _pack(form, waiting, chunks)
    if not starts:
        fix = "if this line is a row and no header, say so (header=False)"
        raise DataError(f"{form.name}: one line, which was taken as the header", expected="at least one row", fix=fix)
    return names, chunks, np.array(starts, dtype=np.int64)


def _pack(form: _Format, rows: list[list[str]], chunks: list[list[str]]) -> None:
    for cells, packed in zip(zip(*rows, strict=True), chunks, strict=True):
        chunk = SEPARATOR.join(map(str.strip, cells))
        if chunk.count(SEPARATOR) != len(rows) - 1:
            raise _has_nul(form.name)
        packed.append(chunk)


def _has_nul(name: str) -> DataError:
    fix = "if it is a table in UTF-16, say so (encoding='utf-16'); a spreadsheet must be exported as CSV"
    return DataError(f"{name} has a NUL character", expected="a text file", fix=fix)


def _numbered_rows(form: _Format, text: io.TextIOBase) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank with the line on which it starts."""
    reader = csv.reader(
        text,
        delimiter=form.delimiter,
        quotechar=form.quote,
        quoting=csv.QUOTE_NONE if form.quote is None else csv.QUOTE_MINIMAL,
        skipinitialspace=True,
        strict=True,
    )
    line = 1
    try:
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        fix = "close the quote, or read quotes as ordinary characters (quote=None)"
        raise DataError(
            f"{form.name} line {line}: {error}", expected="cells whose quotes are closed", fix=fix
        ) from None


def _names(form: _Format, line: int, cells: Sequence[str]) -> list[str]:
    names = [cell.strip() or f"unnamed {index}" for index, cell in enumerate(cells)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        places = [str(index + 1) for index, name in enumerate(names) if name == twice[0]]
        raise DataError(
            f"{form.name} line {line}: columns {' and '.join(places)} are both named {twice[0]!r}",
            expected="a header with different names",
            fix="rename one of them; if the file has no header, say so (header=False)",
        )
    return names


def _ragged(form: _Format, line: int, row: list[str], width: int, first_line: int, *, header: bool) -> DataError:
    start = f"{form.name} line {line}: {len(row)} cell{'s' * (len(row) != 1)}"
    like = f"{width}, as in {'the header' if header else 'the first row'} (line {first_line})"
    if len(row) > width:
        fix = (
            f"a cell that contains {form.delimiter!r} must stand in quotes; another delimiter can be given (delimiter=)"
        )
    else:
        fix = "complete the row; another delimiter can be given (delimiter=)"
    return DataError(start, expected=like, fix=fix)


def _open(form: _Format) -> io.TextIOWrapper:
    return io.TextIOWrapper(_open_bytes(form.path), encoding=form.encoding, newline="")


def _open_bytes(path: str) -> BinaryIO:
    """Open a file, or what gzip packed in it."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    except FileNotFoundError:
        raise no_file(path) from None
    except IsADirectoryError:
        raise _is_folder(path) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    start = file.read(4)
    file.seek(0)
    if start in _SIGNATURES:
        file.close()
        raise DataError(
            f"{os.path.basename(path)} is {_SIGNATURES[start]}", expected="a text file", fix="export it as CSV"
        )
    if start[:2] != b"\x1f\x8b":
        return file
    file.close()
    return cast(BinaryIO, gzip.open(path, "rb"))


def no_file(path: str) -> DataError:
    """Make the error for a file that is not there, with the nearest names in its folder."""
    folder, name = os.path.split(os.path.abspath(path))
    if not os.path.isdir(folder):
        return DataError(f"no file {path!r}: there is no folder {folder}", fix="check the path")
    names = sorted(os.listdir(folder))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    tables = [other for other in names if other.endswith((".csv", ".tsv", ".csv.gz", ".data"))]
    if near:
        fix = f"did you mean {' or '.join(near)}?"
    elif tables:
        fix = f"in this folder there are {', '.join(tables[:5])}"
    else:
        fix = "check the path"
    return DataError(f"no file {name!r} in {folder}", fix=fix)


def _is_folder(path: str) -> DataError:
    tables = sorted(str(file) for file in Path(path).glob("*.[ct]sv*"))
    fix = f"name a file in it, such as {tables[0]}" if tables else "name a file"
    return DataError(f"{path} is a folder", expected="the path of a file", fix=fix)


def _encoding(path: str, encoding: str) -> str:
    """Check the name of an encoding; a byte-order mark decides where the name leaves it open."""
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise ArgumentError(
            f"encoding={encoding!r} is unknown", expected="such as 'utf-8', 'cp1252', 'latin-1'"
        ) from None
    if codecs.lookup(encoding).name != "utf-8":
        return encoding
    with _open_bytes(path) as file:
        try:
            start = file.read(1 << 12)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            return encoding  # the reader will say it with the place
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if b"\0" in start:
        raise _has_nul(os.path.basename(path))
    return "utf-8-sig"


def _wrong_encoding(path: str, encoding: str) -> DataError:
    """Find the byte that could not be decoded, and say on which line it is."""
    with _open_bytes(path) as file:
        raw = file.read()
    shown = "utf-8" if encoding == "utf-8-sig" else encoding
    what = f"{os.path.basename(path)} is not text in {shown}"
    try:
        raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        what = f"{os.path.basename(path)} line {line}: byte 0x{raw[error.start]:02x} is not valid in {shown}"
    fix = f"name the file's encoding, such as encoding={'cp1252' if shown == 'utf-8' else 'utf-8'!r} or 'latin-1'"
    return DataError(what, expected=f"text in {shown}", fix=fix)


def _find_delimiter(path: str, encoding: str, quote: str | None) -> str:
    """Choose the delimiter that cuts the first lines into the same number of cells, the most of them; else a comma."""
    with _open(_Format(path, encoding, ",", quote)) as text:
        try:
            sample = text.read(_SAMPLE)
        except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error):
            return ","  # the reader will say it with the place
    best, best_score = ",", (0.0, 0)
    for candidate in DELIMITERS:
        widths = _widths(sample, candidate, quote)
        if not widths:
            continue
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
        score = (count / widths.total(), width)
        if width > 1 and score > best_score:
            best, best_score = candidate, score
    return best


def _widths(sample: str, delimiter: str, quote: str | None) -> Counter[int]:
    """Count the cells of the first rows, as this delimiter cuts them; the last row of a full sample may be cut."""
    form = _Format("", "", delimiter, quote)
    widths: list[int] = []
    with suppress(DataError):
        for _, row in islice(_numbered_rows(form, io.StringIO(sample, newline="")), 50):
            widths.append(len(row))
    whole = len(sample) < _SAMPLE or len(widths) in (1, 50)
    return Counter(widths if whole else widths[:-1])
