"""The exercises of the course: three in each notebook, with checks that accept the solutions and nothing else."""

import json
import re
import runpy
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

import tfrcnn

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
LONG = ("06_sharing_features",)  # builds two detectors
each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@pytest.fixture(scope="module", autouse=True)
def exercises():
    """Return the module as a notebook imports it."""
    sys.path.insert(0, str(FOLDER))
    import exercises

    yield exercises
    sys.path.remove(str(FOLDER))
    del sys.modules["exercises"]


def numbers(path):
    return [f"{int(path.name[:2])}{letter}" for letter in "abc"]


def test_every_exercise_is_in_a_notebook(exercises):
    assert sorted(exercises.EXERCISES) == sorted(number for path in PATHS for number in numbers(path))


@each
def test_a_notebook_ends_with_three_exercises_and_a_cell_for_the_answers(path, exercises):
    text, answers = nbformat.from_dict(json.loads(path.read_text(encoding="utf-8"))).cells[-2:]
    text.source, answers.source = "".join(text.source), "".join(answers.source)
    for number, kind in zip(numbers(path), ("Predict a number", "Change a line", "Explain a picture")):
        assert f"**{number}. {kind}.**" in text.source
    assert f"(solutions/{path.stem}.py)" in text.source
    assert re.findall(r'^check\("(\w+)", answer_\w\)', answers.source, re.MULTILINE) == numbers(path)
    assert "".join(answers.outputs[0].text) == "".join(f"{number}: {exercises.NO_ANSWER}\n" for number in numbers(path))


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=pytest.mark.slow if p.stem in LONG else (), id=p.stem) for p in PATHS]
)
def test_the_checks_accept_the_solutions(path, exercises, capsys):
    runpy.run_path(str(FOLDER / f"solutions/{path.stem}.py"))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if re.match(r"\d+[abc]: ", line)] == [
        f"{number}: {exercises.RIGHT}" for number in numbers(path)
    ]


@pytest.mark.parametrize("answer", [-1, (1, 2), "D", "", [], np.zeros(5), lambda *inputs: 0.5, lambda: 1])
def test_wrong_answers_of_any_type_are_not_right_and_raise_nothing(answer, exercises):
    quick = [number for number in exercises.EXERCISES if number != "6b"]
    assert [number for number in quick if exercises.is_right(number, answer)] == []


@pytest.mark.parametrize(
    ("exercise", "answer"), [("3a", 22499), ("5a", 2.2), ("7a", 8), ("8a", 3), ("2a", (333, 1001))]
)
def test_a_number_that_is_near_is_not_right(exercise, answer, exercises, capsys):
    exercises.check(exercise, answer)
    assert capsys.readouterr().out.startswith(f"{exercise}: {exercises.WRONG}. Hint: ")


def changing_pixels(boxes, height, width):
    boxes[:, ::2] *= height
    boxes[:, 1::2] *= width
    return boxes


def changing_nms(boxes, scores, threshold):
    kept = []
    while scores.max() >= 0:
        kept.append(int(np.argmax(scores)))
        scores[tfrcnn.boxes.iou(boxes[kept[-1:]], boxes)[0] > threshold] = -1
    return kept


@pytest.mark.parametrize(("exercise", "answer"), [("9b", changing_pixels), ("4b", changing_nms)])
def test_a_right_function_may_change_its_inputs(exercise, answer, exercises):
    assert exercises.is_right(exercise, answer)


def test_a_letter_may_be_small_or_in_brackets_and_the_file_does_not_show_it(exercises):
    letters = [number for number in exercises.EXERCISES if number.endswith("c")]
    for number in letters:
        for written in ("abc", "ABC", ("(A)", "(B)", "(C)")):
            assert sum(exercises.is_right(number, letter) for letter in written) == 1
    digests = re.findall(
        r'^letter\("\w+", "(\w+)"', (FOLDER / "exercises.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [len(digest) for digest in digests] == [12] * len(letters)


def test_no_answer_and_an_unknown_exercise_are_reported(exercises, capsys):
    exercises.check("3a", None)
    assert capsys.readouterr().out == f"3a: {exercises.NO_ANSWER}\n"
    with pytest.raises(KeyError, match="no exercise '99z'"):
        exercises.check("99z", 1)
