"""Files of rows: every form that is read, and every fault with its file and line."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.data import NumberColumn, Table, TextColumn, read_table
from chainrule.errors import ArgumentError, DataError

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str | bytes, name: str = "file.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file


def cells(table: Table) -> list[list[str]]:
    return [[column.cell(row) for column in table.columns.values()] for row in range(len(table))]


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_table(path, **options)
    return str(caught.value)


def test_a_file_with_a_header_gives_named_columns(write: Write) -> None:
    table = read_table(write("age,work\n39,State\n50,?\n"))
    assert table.names == ("age", "work")
    assert cells(table) == [["39", "State"], ["50", ""]]
    assert isinstance(table["age"], NumberColumn)
    assert isinstance(table["work"], TextColumn)


def test_without_a_header_columns_are_numbered_from_0(write: Write) -> None:
    table = read_table(write("39,State\n50,Private\n"), header=False)
    assert table.names == ("0", "1")
    assert len(table) == 2


def test_blank_lines_and_spaces_around_cells_are_ignored_and_lines_still_counted(write: Write) -> None:
    table = read_table(write("\n a , b \n\n 1 , x y \n   \n2,z\n\n\n"))
    assert table.names == ("a", "b")
    assert cells(table) == [["1", "x y"], ["2", "z"]]
    assert table.places.tolist() == [4, 6]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_any_line_ending_is_read(write: Write, ending: str) -> None:
    table = read_table(write(ending.join(["a,b", "1,x", "2,y"])))
    assert cells(table) == [["1", "x"], ["2", "y"]]
    assert table.places.tolist() == [2, 3]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(write: Write, delimiter: str) -> None:
    rows = [["name", "x", "text"], ["a", "1.5", "one"], ["b", "2", "two"]]
    assert cells(read_table(write("\n".join(delimiter.join(row) for row in rows)))) == rows[1:]


def test_the_delimiter_is_the_one_that_cuts_all_lines_alike(write: Write) -> None:
    table = read_table(write("title,genre\nA|B; C,Drama|War\nD,Comedy\nE; F,War|Drama|Love\n"))
    assert table.names == ("title", "genre")


def test_semicolons_with_decimal_commas_are_numbers_when_said_so(write: Write) -> None:
    table = read_table(write("a;b\n1,5;x\n2,25;y\n"), decimal=",")
    assert table.numbers("a").tolist() == [1.5, 2.25]


def test_one_column_needs_no_delimiter(write: Write) -> None:
    assert read_table(write("x\n1\n2\n")).numbers("x").tolist() == [1, 2]


def test_a_quoted_cell_may_hold_delimiters_quotes_and_newlines(write: Write) -> None:
    table = read_table(write('a,b\n"x, y","he said ""no"""\n"two\nlines",z\n3,w\n'))
    assert cells(table) == [["x, y", 'he said "no"'], ["two\nlines", "z"], ["3", "w"]]
    assert table.places.tolist() == [2, 3, 5]


def test_a_quote_that_is_an_ordinary_character_can_be_read_so(write: Write) -> None:
    path = write('a\tb\n"no end\t1\nx\t2\n')
    assert "line 2: unexpected end of data" in refused(path)
    assert cells(read_table(path, quote=None))[0] == ['"no end', "1"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_decides_the_encoding(write: Write, encoding: str) -> None:
    table = read_table(write("größe,b\n1,é\n2,x\n".encode(encoding)))
    assert table.names == ("größe", "b")
    assert cells(table)[0] == ["1", "é"]


def test_a_compressed_file_is_read_whatever_its_name(write: Write) -> None:
    packed = gzip.compress(b"a,b\n1,x\n2,y\n")
    for name in ("file.csv.gz", "file.csv"):
        assert cells(read_table(write(packed, name))) == [["1", "x"], ["2", "y"]]


def test_empty_names_are_numbered_as_frames_save_their_index(write: Write) -> None:
    assert read_table(write(",a\n0,5\n1,6\n")).names == ("unnamed 0", "a")


def test_one_row_is_a_table(write: Write) -> None:
    assert len(read_table(write("a,b\n1,2\n"))) == 1


def test_columns_can_be_kept_as_written(write: Write) -> None:
    path = write("version\n3.10\n3.1\n")
    assert read_table(path)["version"].categories()[1] == ("3.1",)
    assert read_table(path, as_text=["version"])["version"].categories()[1] == ("3.1", "3.10")


def test_what_counts_as_missing_can_be_said(write: Write) -> None:
    table = read_table(write("a,b\n1,-\nNA,x\n-,y\n"), missing="-")
    assert table.num_missing("b") == 1
    assert table["a"].cell(1) == "NA"


def test_a_long_file_is_read_in_chunks_that_do_not_show(write: Write) -> None:
    rows = 20_000
    text = "n,word\n" + "".join(f"{i},w{i % 7}\n" for i in range(rows)) + "x,last\n"
    table = read_table(write(text))
    assert table["n"].cell(rows - 1) == str(rows - 1)
    assert table["n"].cell(rows) == "x"
    assert table.place(rows) == f"file.csv line {rows + 2}"


@given(
    st.lists(
        st.lists(
            st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=8), min_size=2, max_size=2
        ),
        min_size=1,
    )
)
def test_what_csv_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["first", "second"], *rows])
    from_memory = read_table({"first": [row[0] for row in rows], "second": [row[1] for row in rows]})
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_bytes(text.getvalue().encode())
    assert cells(read_table(path, delimiter=",")) == cells(from_memory)


# What is refused, with the place


def test_a_ragged_row_names_file_line_and_both_counts(write: Write) -> None:
    said = refused(write("a,b,c\n1,2,3\n4,5\n"))
    assert "file.csv line 3: 2 cells; expected 3, as in the header (line 1)" in said
    said = refused(write("1,2\n\n4,5,6\n"), header=False)
    assert "file.csv line 3: 3 cells; expected 2, as in the first row (line 1)" in said
    assert "must stand in quotes" in said


def test_a_ragged_row_late_in_a_file_is_named_by_its_line(write: Write) -> None:
    said = refused(write("a,b\n" + "1,2\n" * 10_000 + "1\n"))
    assert "line 10002: 1 cell;" in said


def test_a_wrong_encoding_names_line_and_byte_and_what_to_try(write: Write) -> None:
    path = write("name,x\nanna,1\nrené,2\n".encode("latin-1"))
    said = refused(path)
    assert "file.csv line 3: byte 0xe9 is not valid in utf-8" in said
    assert "cp1252" in said
    assert cells(read_table(path, encoding="latin-1"))[1] == ["rené", "2"]


def test_an_unknown_encoding_is_refused(write: Write) -> None:
    with pytest.raises(ArgumentError, match="encoding='utf-99' is unknown"):
        read_table(write("a\n1\n"), encoding="utf-99")


@pytest.mark.parametrize("text", ["", "\n\n", "  \n"])
def test_an_empty_file_is_refused(write: Write, text: str) -> None:
    assert "file.csv: the file is empty" in refused(write(text))


def test_a_file_with_a_header_alone_is_refused(write: Write) -> None:
    said = refused(write("a,b\n\n"))
    assert "one line, which was taken as the header" in said
    assert "header=False" in said


def test_two_columns_of_one_name_are_refused(write: Write) -> None:
    said = refused(write("a,b,a\n1,2,3\n"))
    assert "line 1: columns 1 and 3 are both named 'a'" in said
    assert "header=False" in said


def test_a_missing_file_gets_the_nearest_names_in_its_folder(write: Write, tmp_path: Path) -> None:
    write("a\n1\n", "adult-train.csv")
    said = refused(tmp_path / "adult-trian.csv")
    assert "no file 'adult-trian.csv'" in said
    assert "Did you mean adult-train.csv?" in said
    assert "In this folder there are adult-train.csv" in refused(tmp_path / "zzz")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert f"there is no folder {tmp_path / 'nowhere'}" in refused(tmp_path / "nowhere" / "file.csv")


def test_a_folder_is_no_file(write: Write, tmp_path: Path) -> None:
    write("a\n1\n")
    said = refused(tmp_path)
    assert "is a folder" in said
    assert "file.csv" in said


def test_a_path_through_a_file_is_refused(write: Write) -> None:
    said = refused(write("a\n1\n") / "file.csv")
    assert "cannot be read" in said or "no file" in said  # as the system calls it


def test_a_spreadsheet_is_recognised(write: Write) -> None:
    assert "is a spreadsheet (.xlsx) or a zip file" in refused(write(b"PK\x03\x04rest", "book.csv"))


def test_a_nul_character_is_refused(write: Write) -> None:
    assert "file.csv has a NUL character" in refused(write("a,b\n1,x\n".encode("utf-16-le")))
    assert "file.csv has a NUL character" in refused(write(b"a,b\n" + b"1,2\n" * 2000 + b"1,\0\n"))


def test_a_compressed_file_that_is_cut_short_is_refused(write: Write) -> None:
    packed = gzip.compress(np.random.default_rng(0).bytes(4000).hex().encode())
    assert "damaged or cut short" in refused(write(packed[: len(packed) // 2], "file.csv.gz"))
    assert "damaged or cut short" in refused(write(packed[:6], "file.csv.gz"))
    assert "damaged or cut short" in refused(write(packed[:-6] + b"123456", "file.csv.gz"))


@pytest.mark.parametrize("options", [{"delimiter": "::"}, {"decimal": ""}, {"quote": "''"}])
def test_a_sign_has_one_character(write: Write, options: dict[str, str]) -> None:
    with pytest.raises(ArgumentError, match="expected one character"):
        read_table(write("a\n1\n"), **options)  # type: ignore[arg-type]  # a wrong value on purpose
