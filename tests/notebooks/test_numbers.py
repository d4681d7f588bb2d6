"""What the notebooks' texts say about their stored outputs is so: numbers, orders and shares.

Each claim quotes the English text, names the cell with the output, and computes the statement from it. The Korean
follows, because `test_korean.py` pairs the cells.
"""

import itertools
import json
import math
import re
from functools import cache
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


@cache
def cells(name):
    (path,) = FOLDER.glob(f"{name}_*.ipynb")
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def prose(name):
    """Return the English text of a notebook in one line."""
    text = " ".join("".join(cell["source"]) for cell in cells(name) if cell["cell_type"] == "markdown")
    return " ".join(text.split())


def stored(name, cell_id):
    """Return the text that a cell printed, tables included."""
    (cell,) = (cell for cell in cells(name) if cell["id"] == cell_id)
    data = [output.get("data", {}) for output in cell["outputs"]]
    streams = ["".join(output.get("text", "")) for output in cell["outputs"]]
    return "\n".join([*streams, *("".join(item.get("text/markdown", "")) for item in data)])


def numbers(text):
    return [float(number.replace(",", "")) for number in NUMBER.findall(text)]


def row(text, start):
    """Return the numbers of the line that begins with a text, without those in that text."""
    (line,) = (line for line in text.splitlines() if line.strip("| ").startswith(start))
    return numbers(line.strip("| ")[len(start) :])


def rows(text, first=r"\s*\|? ?\d"):
    """Return the numbers of each line that begins with a number."""
    return [numbers(line) for line in text.splitlines() if re.match(first, line)]


def epochs(text, name):
    """Return one figure of the lines that training prints, for example "class"."""
    return [float(value) for value in re.findall(rf"(?<![\w-]){name} (\d+\.\d+)", text)]


def falls(values):
    return all(a > b for a, b in itertools.pairwise(values))


def rises_then_falls(values):
    top = values.index(max(values))
    return top > 0 and falls(values[top:])


CLAIMS = []
RATIOS = ("1 ratio ", "3 ratios")


def claim(notebook, text, *outputs):
    """Add a claim: the sentence in the notebook, the cells with its outputs, and a function of what they store."""

    def add(holds):
        CLAIMS.append(pytest.param(notebook, text, outputs, holds, id=f"{notebook}-{holds.__name__}"))
        return holds

    return add


@claim("00", "The RPN costs 3 % of the convolutions that it reads.", "cell-06")
def share_of_the_rpn(text):
    convolutions, _, rpn, *_ = row(text, "Faster R-CNN")
    return round(100 * rpn / convolutions) == 3


@claim("00", "Here the image has 16,384 pixels and the 100 regions have 230,400.", "cell-09")
def pixels_of_the_regions(text):
    count, height, width = numbers(text)
    return height * width == 16_384 and count * 48 * 48 == 230_400


@claim("01", "It costs many times as much as the single image.", "cell-10")
def five_images(text):
    return row(text, "(a) of five images")[0] > 5 * row(text, "network alone")[0]


@claim("01", "so the two smaller images cost 1/4 + 1/16 of the first.", "cell-10")
def three_images(text):
    ratio = row(text, "(a) pyramid of images")[0] / row(text, "network alone")[0]
    return ratio == pytest.approx(1 + 1 / 4 + 1 / 16, rel=0.02)


@claim("02", "38 x 57 cells with nine anchors each are 19494 anchors.", "cell-34b")
def anchors_of_a_photograph(text):
    return row(text, "features")[1:3] == [38, 57] and row(text, "anchors")[0] == 38 * 57 * 9 == 19494


@claim("03", "171 and 228 pixels are the numbers of the paper.", "cell-18")
def receptive_fields(text):
    return [numbers(line)[0] for line in text.splitlines() if "sees" in line] == [171, 228]


@claim("03", "each is at its old place plus 32 pixels", "cell-10")
def shift_of_the_proposals(text):
    return numbers(text.split(":", 1)[1])[:5] == [0, 32, 0, 32, 0]


@claim("03", r"counts $2.8 \times 10^4$ parameters against $6.1 \times 10^6$", "cell-15")
def parameters_of_multibox(text):
    values = numbers(text.replace("\n", " "))
    return 27648 in values and 6144000 in values


@claim("04", "a square anchor predicts a narrower box", "size-1")
def square_anchors(text):
    square = [values for values in rows(text) if values[0] == values[1]]
    return len(square) >= 2 and all(width < height for _, _, height, width, _ in square)


@claim("04", "The boxes have about the size of their anchors", "size-1")
def sizes_of_the_boxes(text):
    sizes = [(math.sqrt(a * b), math.sqrt(c * d)) for a, b, c, d, _ in rows(text)]
    return all(box == pytest.approx(anchor, rel=0.2) for anchor, box in sizes)


@claim("04", "After NMS, ten proposals find most of the objects.", "cell-17")
def ten_proposals(text):
    return row(text, "10 ")[0] > 0.5


@claim("04", "the recall at IoU 0.9 is near 0 for 10, 30 and 100 proposals", "cell-17")
def recall_at_a_high_iou(text):
    return all(row(text, start)[2] < 0.05 for start in ("10 ", "30 ", "100 "))


@claim("05", "Almost all of the thousands of anchors are negative.", "cell-05")
def negative_anchors(text):
    negative, of, _ = row(text, "negative")
    return of > 1000 and negative / of > 0.9


@claim("05", "most positives are positive by rule (i) alone", "cell-05")
def positives_of_rule_i(text):
    positive, _, strict = row(text, "positive")
    (ignored, _, more), (negative, _, same) = row(text, "ignored"), row(text, "negative")
    return positive > 2 * strict and more - ignored == positive - strict and negative == same


@claim("06", "That is little for a backbone that has seen 528 digits.", "cell-12")
def digits_of_the_classifier(text):
    return numbers(text)[0] == 528


@claim("06", "The losses of the RPN fall from the start. The losses of the head rise first and then fall.", "cell-17")
def losses_of_joint_training(text):
    head = [epochs(text, name) for name in ("class", "box")]
    return falls(epochs(text, "rpn")) and falls(epochs(text, "rpn-box")) and all(map(rises_then_falls, head))


@claim("06", "Train the RPN's own layers on it.", "cell-23")
def fingerprints_after_step_3(text):
    prints = [re.findall(r"`(\w+)`", line) for line in text.splitlines() if re.match(r"\| \d", line)]
    (_, rpn, *_), _, (new_rpn, shared, _), (kept_rpn, kept, _) = prints
    return rpn != new_rpn == kept_rpn and shared == kept


@claim("07", "A detection can have the best class score and come from a proposal of low rank", "explain-2")
def rank_of_a_proposal(text):
    return max(values[3] for values in rows(text)) > 20


@claim("08", "The training loss of 8.5 falls in every epoch, but the validation AP does not always rise.", "cell-21")
def curves_of_fine_tuning(text):
    scores = epochs(text, "AP")
    return falls(epochs(text, "loss")) and scores != sorted(scores)


@claim("09", "The file has less than a third of the size", "cell-20")
def size_of_int8(text):
    return row(text, "int8")[0] < row(text, "float32")[0] / 3


@claim("09", "scores differ by a few millionths between runtimes", "cell-14")
def round_off_of_runtimes(text):
    runtimes = ("TensorFlow, SavedModel", "ONNX Runtime", "OpenVINO, the ONNX file", "LiteRT, TFLite")
    table = [row(text, f"{name} |") for name in runtimes]
    return all(0 < score < 1e-5 and alone == 0 for _, _, score, alone, *_ in table)


@claim("10", "Scales and ratios both raise the ceiling.", "cell-04")
def ceiling_of_anchors(text):
    kinds = [row(text, f"{scales}, {ratios}")[1:] for scales in ("1 scale", "3 scales") for ratios in RATIOS]
    one, ratios, scales, both = kinds
    return all(a <= b <= d and a <= c <= d for a, b, c, d in zip(one, ratios, scales, both))


@claim("10", "few anchors of 512 pixels fit into 600", "cell-07")
def large_anchors(text):
    return all(max(numbers(line.split("[")[1])[2::3]) <= 0.1 for line in text.splitlines() if "[" in line)


@pytest.mark.parametrize(("notebook", "text", "outputs", "holds"), CLAIMS)
def test_the_text_follows_from_the_stored_output(notebook, text, outputs, holds):
    assert text in prose(notebook)
    assert holds(*(stored(notebook, cell) for cell in outputs))


@pytest.mark.parametrize(
    ("holds", "text"),
    [
        (share_of_the_rpn, "Faster R-CNN   183   36   9.5   229   1.0 x"),
        (receptive_fields, "zf     sees 171 pixels\nvgg16  sees 196 pixels"),
        (square_anchors, "  16 x 16   17 x 12   824\n  32 x 32   25 x 35   668"),
        (positives_of_rule_i, "positive 9 of 40; 8\nnegative 20 of 40; 20\nignored 11 of 40; 12"),
        (size_of_int8, "| float32 | 6.95 MB | 0.7 |\n| int8 | 4.08 MB | 0.7 |"),
        (curves_of_fine_tuning, "loss 0.8 val AP 0.3\nloss 0.5 val AP 0.4"),
    ],
)
def test_an_output_that_says_otherwise_is_noticed(holds, text):
    assert not holds(text)
