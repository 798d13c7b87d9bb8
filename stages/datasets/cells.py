"""The rows of a table of labels, whatever file holds it: CSV and its relatives, Parquet, or an Excel workbook."""

import csv
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.datasets.labels import read_text
from stages.errors import DatasetError
from stages.params.schema import TableParams

TEXT_ENDINGS = (".csv", ".tsv", ".txt")
PARQUET_ENDINGS = (".parquet", ".pq")
WORKBOOK_ENDINGS = (".xlsx",)


@dataclass(frozen=True)
class Cells:
    """The rows of a table.

    Attributes:
        names: Names of the columns; None in a table without a header.
        width: Number of columns.
        rows: (place for messages, one value a column) of every row; (place, what is wrong with it) of one that has
            another number of values.
    """

    names: list[str] | None
    width: int
    rows: list[tuple[str, Sequence[Any] | str]]


def read_cells(labels: Path, layout: TableParams) -> Cells:
    """Every row of a table that is not blank.

    Args:
        labels: A file that ends in .csv, .tsv, .txt, .parquet, .pq or .xlsx.
        layout: How it is written.

    Raises:
        DatasetError: The file is missing, of another kind or damaged; the message names the place: the line of a text
            file, whose header is line 1.
    """
    ending = labels.suffix.lower()
    try:
        labels.stat()  # a missing file is reported as such, whatever its ending
        if ending in TEXT_ENDINGS:
            return _of_text(labels, layout)
        if ending in PARQUET_ENDINGS:
            table = pq.read_table(labels)
            # Lists of frames or conversations are no labels, and there may be gigabytes of them.
            columns = [
                [None] * len(column) if pa.types.is_nested(column.type) else column.to_pylist()
                for column in table.columns
            ]
            numbered = enumerate(zip(*columns, strict=True), start=1)
            return Cells(table.column_names, len(columns), [(f"{labels.name} row {n}", row) for n, row in numbered])
        if ending in WORKBOOK_ENDINGS:
            return _of_workbook(labels, layout)
    except FileNotFoundError:
        raise DatasetError(f"{labels}: no such label file or folder (dataset.root, dataset.labels)") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{labels}: cannot be read as a table ({error})") from None
    endings = ", ".join((*TEXT_ENDINGS, *PARQUET_ENDINGS, *WORKBOOK_ENDINGS))
    raise DatasetError(f"{labels}: a table of labels ends in one of {endings}")


@contextmanager
def opened_workbook(workbook: Path, *, missing: str) -> Iterator[Any]:
    """An Excel workbook, closed afterwards.

    Args:
        workbook: The .xlsx file.
        missing: What a message calls a file that is not there.

    Yields:
        The workbook of openpyxl, read-only, with values in place of formulas.

    Raises:
        DatasetError: The file is missing or damaged, which may come out only while its sheets are read.
    """
    # Imported where it is needed: openpyxl takes a quarter of a second to load.
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = openpyxl.load_workbook(workbook, read_only=True, data_only=True)
    except FileNotFoundError:
        raise DatasetError(f"{workbook}: {missing}") from None
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError, SyntaxError) as error:
        raise DatasetError(f"{workbook}: not a readable workbook ({error})") from None
    try:
        yield book
    except (SyntaxError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        # Sheets are read on demand; XML parsers raise subclasses of SyntaxError.
        raise DatasetError(f"{workbook}: not a readable workbook ({error})") from None
    finally:
        book.close()


def _of_text(labels: Path, layout: TableParams) -> Cells:
    reader = csv.reader(
        io.StringIO(read_text(labels), newline=""),
        delimiter=layout.delimiter,
        quotechar=layout.quote or None,
        quoting=csv.QUOTE_MINIMAL if layout.quote else csv.QUOTE_NONE,
        strict=True,
    )
    names: list[str] | None = None
    width = 0
    rows: list[tuple[str, Sequence[Any] | str]] = []
    # A quote that is never closed is noticed at the end of the file: users need the line where its row begins.
    begin = 1
    try:
        for row in reader:
            place = f"{labels.name} line {reader.line_num}"
            begin = reader.line_num + 1
            # Empty lines have no fields, blank ones a single field; a line of separators alone is a row.
            if not "".join(row).strip() and (not row or len(row) != width):
                continue
            if not width:
                width = len(row)
                if layout.header:
                    names = [name.strip() for name in row]
                    continue
            fits = len(row) == width
            of = "of the header" if layout.header else "of the first line"
            rows.append((place, row if fits else f"not the {width} fields {of}"))
    except csv.Error as error:
        raise DatasetError(
            f"{labels}: cannot be read as a table from line {begin} on ({error}); a quote inside a quoted field is "
            "written twice"
        ) from None
    return Cells([] if layout.header and names is None else names, width, rows)


def _of_workbook(labels: Path, layout: TableParams) -> Cells:
    with opened_workbook(labels, missing="no such label file or folder (dataset.root, dataset.labels)") as book:
        if layout.sheet and layout.sheet not in book.sheetnames:
            found = ", ".join(book.sheetnames)
            raise DatasetError(f"{labels}: no sheet {layout.sheet!r} (dataset.table.sheet; found: {found})")
        sheet = book[layout.sheet] if layout.sheet else book.worksheets[0]
        numbered = enumerate(sheet.iter_rows(values_only=True), start=1)
        filled = [(number, row) for number, row in numbered if any(cell is not None for cell in row)]
    width = max((len(row) for _, row in filled), default=0)
    padded = [(number, (*row, *[None] * (width - len(row)))) for number, row in filled]
    names = None
    if layout.header:
        names = ["" if cell is None else str(cell).strip() for cell in padded[0][1]] if padded else []
        padded = padded[1:]
    return Cells(names, width, [(f"{labels.name} row {number}", row) for number, row in padded])
