"""How a table of labels is described in params.yaml: columns by name and number, and what does not go together."""

from collections.abc import Callable

import pytest

from stages.errors import ParamsError
from stages.params.load import check_params, merge
from stages.params.schema import DatasetParams


@pytest.fixture
def check(shipped_params: dict) -> Callable[..., DatasetParams]:
    return lambda **changes: check_params(merge(shipped_params, {"dataset": changes}), source="params.yaml").dataset


def test_columns_may_be_numbers(check) -> None:
    params = check(format="table", target=4, table={"columns": {"path": 1, "prompt": "2"}})
    assert (params.target, params.table.columns.path, params.table.columns.prompt) == ("4", "1", "2")


def test_separators(check) -> None:
    assert [check(table={"separator": one}).table.delimiter for one in (",", "|", "tab")] == [",", "|", "\t"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "fetv"}, "target = 'mos' with format = fetv; allowed: static_quality, temporal_quality, alignment"),
        (
            {"table": {"header": False}},
            "dataset.table: columns.path = 'path' with header = false; allowed: a number from 1",
        ),
        (
            {"format": "table", "table": {"header": False, "columns": {"path": 1}}},
            "dataset: target = 'mos' with table.header = false; allowed: a number from 1",
        ),
        ({"table": {"separator": "||"}}, "dataset.table.separator = '||': one character is needed, or the word tab"),
        ({"table": {"quote": "''"}}, "dataset.table.quote"),
        ({"target": True}, "dataset.target = True"),
        ({"table": {"columns": {"path": 1.5}}}, "dataset.table.columns.path = 1.5"),
    ],
)
def test_what_is_refused(check, changes: dict, message: str) -> None:
    with pytest.raises(ParamsError) as caught:
        check(**changes)
    assert message in str(caught.value)
