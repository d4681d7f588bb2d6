"""TensorFlow Serving's REST predict protocol: from a request's body to the input of a signature.

Legend: B images of H rows and W columns. https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

import numpy as np
from fastapi import HTTPException

EXPLAIN = "explain"
INPUTS = {"serving_default": "images", "encoded": "encoded_images", EXPLAIN: "encoded_images"}
METHODS = ("grad-cam", "eigen-cam")  # of an explanation, the first by default
MAX_DETECTIONS = 1_000_000  # per image; beyond any model
MAX_ECHO = 60  # characters of a client's value that an error repeats

# Headers of the messages between the server and its workers; the body follows.
REQUEST = struct.Struct(">QdQ")  # number, deadline on the clock of `time.monotonic`, bytes of the body
ANSWER = struct.Struct(">QHQ")  # number, HTTP status, bytes of the body
# Statuses of answers of number 0, which no client sees
DESCRIBED = 1  # the body is the description of the model
COUNTED = 2  # the body has the images and detections of an answer that follows


@dataclass(frozen=True)
class Limits:
    """What one request may cost. A request beyond a limit is refused with 413 or 503 before it costs anything.

    Attributes:
        body: Bytes of a request's body.
        images: Images per request.
        pixels: Pixels of one image, H * W.
        seconds: Time from a request's arrival to its answer.
        waiting: Requests that are accepted and not yet answered.
    """

    body: int = 32 * 2**20
    images: int = 64
    pixels: int = 50_000_000
    seconds: float = 60.0
    waiting: int = 128


def error_body(message: str) -> bytes:
    """Write an error as TensorFlow Serving does."""
    return json.dumps({"error": message}).encode()


def echo(value: object) -> str:
    """Write a client's value in ASCII and shortened, for an error."""
    text = ascii(value)
    return text if len(text) <= MAX_ECHO else f"{text[:MAX_ECHO]}..."


def read_json(body: bytes) -> dict[str, Any]:
    """Read the body of a request.

    Raises:
        HTTPException: 400, the body is not an object of RFC 8259's JSON in UTF-8.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"expected JSON in UTF-8, found byte {error.start} that is not") from error
    except RecursionError as error:
        raise HTTPException(400, "expected a JSON object, found one that is nested too deeply") from error
    except ValueError as error:  # of the syntax, or a number of thousands of digits
        raise HTTPException(400, f"expected a JSON object: {str(error)[:MAX_ECHO]}") from error
    if not isinstance(value, dict):
        raise HTTPException(400, f"expected a JSON object, found {_kind(value)}")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def parse(body: dict[str, Any], limits: Limits = Limits()) -> tuple[str, Any, bool]:
    """Parse a request.

    Rows are {"instances": [x, ...]} and {"instances": [{"images": x}, ...]}, columns {"inputs": [...]} and
    {"inputs": {"images": [...]}}.

    Args:
        body: The request's JSON.
        limits: The number of images and pixels that are accepted.

    Returns:
        signature: The name of the signature.
        value: Its input: files as a list of bytes, or uint8 pixels [B, H, W, 3].
        rows: Whether to answer in rows, one per image.

    Raises:
        HTTPException: 400 with what was expected, or 413.
    """
    signature = body.get("signature_name", "serving_default")
    if not isinstance(signature, str) or signature not in INPUTS:
        raise HTTPException(400, f"signature_name: expected one of {', '.join(INPUTS)}, found {echo(signature)}")
    name, rows = INPUTS[signature], "instances" in body
    if rows == ("inputs" in body):
        raise HTTPException(400, "expected one of 'instances' and 'inputs'")
    value = body["instances" if rows else "inputs"]
    if isinstance(value, dict) and not rows:
        value = value.get(name)
    if not isinstance(value, list) or not value:
        raise HTTPException(400, f"expected a list of {name}, one for each image")
    if len(value) > limits.images:
        raise HTTPException(413, f"{name}: expected at most {limits.images} images per request, found {len(value)}")
    if rows:
        value = [row[name] if isinstance(row, dict) and name in row else row for row in value]
    return signature, pixels(value, limits) if signature == "serving_default" else files(value), rows


def parse_choice(body: dict[str, Any], count: int) -> tuple[int, str]:
    """Parse which detection a request of the signature "explain" is about, and by which method.

    Args:
        body: The request's JSON.
        count: Its number of images.

    Raises:
        HTTPException: 400 with what was expected.
    """
    detection, method = body.get("detection", 0), body.get("method", METHODS[0])
    if count != 1:
        raise HTTPException(400, f"{EXPLAIN}: expected one image, found {count}")
    if type(detection) is not int or not 0 <= detection < MAX_DETECTIONS:
        raise HTTPException(400, f"detection: expected the position of a detection, found {echo(detection)}")
    if method not in METHODS:
        raise HTTPException(400, f"method: expected one of {', '.join(METHODS)}, found {echo(method)}")
    return detection, method


def files(values: list[Any]) -> list[bytes]:
    """Decode [{"b64": text}, ...]."""
    try:
        return [base64.b64decode(value["b64"], validate=True) for value in values]
    except (TypeError, KeyError, ValueError) as error:
        raise HTTPException(400, 'encoded_images: expected {"b64": "..."} of each file, in base64') from error


def pixels(values: list[Any], limits: Limits = Limits()) -> np.ndarray:
    """Convert [B][H][W][3] numbers to uint8.

    `np.array` is not used, because it guesses the type: a long text among many numbers would fill the memory.
    """
    if not all(isinstance(image, list) and image and isinstance(image[0], list) for image in values):
        _refuse_pixels()
    height, width = len(values[0]), len(values[0][0])
    try:
        heights, widths = set(map(len, values)), set(map(len, chain.from_iterable(values)))
        columns = list(chain.from_iterable(chain.from_iterable(values)))
        if len(heights) > 1 or len(widths) > 1:
            raise HTTPException(400, "images: expected one size; for several, send files to 'encoded'")
        if height * width > limits.pixels:
            raise HTTPException(413, f"images: expected at most {limits.pixels} pixels, found {height} x {width}")
        numbers = list(chain.from_iterable(columns))
        if set(map(len, columns)) != {3} or set(map(type, numbers)) != {int}:
            _refuse_pixels()
        return np.frombuffer(bytes(numbers), np.uint8).reshape(len(values), height, width, 3)
    except (TypeError, ValueError):  # something that is no list, or a number beyond a byte
        _refuse_pixels()


def _refuse_pixels() -> NoReturn:
    raise HTTPException(400, "images: expected [B, H, W, 3] whole numbers in 0..255")


def _kind(value: object) -> str:
    return {list: "a list", str: "a text", type(None): "null", bool: "true or false"}.get(type(value), "a number")
