"""The columns of annotated boxes give back the records that were put in."""

import numpy as np
import pytest

from tfrcnn.data.box_table import BoxRecord, BoxTable

RECORDS = [
    BoxRecord(3, 7, (1.5, 2.0, float("inf"), -4.0), 2, True, False, 12.5, 2**63 - 1),
    BoxRecord(0, 0, (0.0, 0.0, 1.0, 1.0), 0),
    BoxRecord(1, 9, (0.1, 0.2, 0.3, 0.4), 5, False, True, 0.0, -(2**63) + 1),
]


def test_the_records_of_a_table_are_those_that_were_appended() -> None:
    table = BoxTable(RECORDS[:1])
    for record in RECORDS[1:]:
        table.append(record)
    assert list(table) == RECORDS
    assert table == RECORDS
    assert table == BoxTable(RECORDS)
    assert table != RECORDS[:2]
    assert table[-1] == RECORDS[-1]
    assert table[:2] == RECORDS[:2]
    assert len(table) == 3
    with pytest.raises(IndexError):
        table[3]


def test_the_columns_of_a_table_are_arrays_of_its_records() -> None:
    table = BoxTable(RECORDS)
    np.testing.assert_array_equal(table.images, [3, 0, 1])
    np.testing.assert_array_equal(table.labels, [2, 0, 5])
    np.testing.assert_array_equal(table.yxyx, [record.yxyx for record in RECORDS])
    np.testing.assert_array_equal(table.areas, [12.5, np.nan, 0])
    np.testing.assert_array_equal(table.crowd, [True, False, False])
    np.testing.assert_array_equal(table.difficult, [False, False, True])


def test_ids_are_those_of_the_rows_unless_one_has_none() -> None:
    table = BoxTable(RECORDS)
    assert table.annotation_ids(np.array([0, 1])) is None
    np.testing.assert_array_equal(table.annotation_ids(np.array([2, 0])), [-(2**63) + 1, 2**63 - 1])


def test_an_empty_table_has_empty_columns() -> None:
    table = BoxTable()
    assert not table
    assert table.yxyx.shape == (0, 4)
    assert table.images.shape == (0,)
