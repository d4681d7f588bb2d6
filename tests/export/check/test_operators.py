"""The table of operators in a report."""

from tfrcnn.export.check.operators import count, join_types, render


def test_the_table_has_a_row_for_each_kind():
    rows = [{"op": "CONV_2D", "count": 52, "dtypes": "int8 [int8 int32] -> int8"}]
    assert render(rows).splitlines()[-1] == "| CONV_2D | 52 | int8 [int8 int32] → int8 |"


def test_kinds_are_counted_and_their_types_written_once():
    conv = ("CONV_2D", join_types(["int8"], ["int8", "int32", "int8"], ["int8"]))
    add = ("ADD", join_types(["float32", "float32"], [], ["float32"]))
    assert count([add, conv, conv]) == [
        {"op": "CONV_2D", "count": 2, "dtypes": "int8 [int32 int8] -> int8"},
        {"op": "ADD", "count": 1, "dtypes": "float32 -> float32"},
    ]
