"""Serve a SavedModel over HTTP with TensorFlow Serving's REST predict protocol, without TensorFlow Serving.

    python server.py MODEL --name detector --port 8501

    POST /v1/models/detector:predict   {"signature_name": "encoded", "instances": [{"b64": "..."}, ...]}
    GET  /v1/models/detector           its status
    GET  /health                       200 once the model is loaded

LitServe provides HTTP, the queue and the worker processes; this file is the protocol. It needs tensorflow and
litserve, not tfrcnn. https://www.tensorflow.org/tfx/serving/api_rest
"""

# No `from __future__ import annotations` here: LitServe and FastAPI read annotations as types.
import argparse
import base64
import binascii
import os
import re
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException

INPUTS = {"serving_default": "images", "encoded": "encoded_images"}
MAX_WAIT = 60  # seconds from a request's arrival to its answer; then 504


class Detector(litserve.LitAPI):
    """A SavedModel. LitServe calls its methods in turn for each request, in a worker process."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(api_path=f"/v1/models/{name}:predict")
        self.path = path

    def setup(self, device: str) -> None:
        # hide TensorFlow's notes on operations whose cost it cannot estimate
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        # not at the top: the parent process does not need TensorFlow and must not be forked with it
        import tensorflow as tf

        self.tf = tf
        self.model = tf.saved_model.load(str(self.path))
        # the first call of a graph takes a second: spare the first client
        image = np.zeros((1, 64, 64, 3), np.uint8)
        self.predict(("serving_default", image, True))
        self.predict(("encoded", [tf.io.encode_png(image[0]).numpy()], True))

    def decode_request(self, request: dict[str, Any]) -> tuple[str, Any, bool]:
        return parse(request)

    def predict(self, request: tuple[str, Any, bool]) -> tuple[dict[str, np.ndarray], bool]:
        signature, value, rows = request
        try:
            outputs = self.model.signatures[signature](**{INPUTS[signature]: self.tf.constant(value)})
        except self.tf.errors.InvalidArgumentError as error:
            failed = re.search(r"assertion failed: (.*)", error.message)
            raise HTTPException(400, failed[1] if failed else error.message) from error
        return {name: tensor.numpy() for name, tensor in outputs.items()}, rows

    def encode_response(self, answer: tuple[dict[str, np.ndarray], bool]) -> dict[str, Any]:
        outputs, rows = answer
        columns = {name: value.tolist() for name, value in outputs.items()}
        if not rows:
            return {"outputs": columns}
        return {"predictions": [dict(zip(columns, row)) for row in zip(*columns.values())]}


def parse(body: dict[str, Any]) -> tuple[str, Any, bool]:
    """Parse a request.

    Rows are {"instances": [x, ...]} and {"instances": [{"images": x}, ...]}, columns {"inputs": [...]} and
    {"inputs": {"images": [...]}}.

    Args:
        body: The request's JSON.

    Returns:
        The signature, the value of its input, and whether to answer in rows, one per image.

    Raises:
        HTTPException: 400 with what was expected.
    """
    signature = body.get("signature_name", "serving_default")
    if signature not in INPUTS:
        raise HTTPException(400, f"signature_name: expected one of {', '.join(INPUTS)}, found {signature!r}")
    name, rows = INPUTS[signature], "instances" in body
    if rows == ("inputs" in body):
        raise HTTPException(400, "expected one of 'instances' and 'inputs'")
    value = body["instances" if rows else "inputs"]
    if isinstance(value, dict) and not rows:
        value = value.get(name)
    if not isinstance(value, list) or not value:
        raise HTTPException(400, f"expected a list of {name}, one for each image")
    if rows:
        value = [row[name] if isinstance(row, dict) and name in row else row for row in value]
    return signature, files(value) if signature == "encoded" else pixels(value), rows


def files(values: list[Any]) -> list[bytes]:
    """Decode [{"b64": text}, ...]."""
    try:
        return [base64.b64decode(value["b64"], validate=True) for value in values]
    except (TypeError, KeyError, binascii.Error) as error:
        raise HTTPException(400, 'encoded_images: expected {"b64": "..."} of each file, in base64') from error


def pixels(values: list[Any]) -> np.ndarray:
    """Convert [B][H][W][3] numbers to uint8."""
    try:
        images = np.array(values)
    except ValueError as error:
        raise HTTPException(400, "images: expected one size; for several, send files to 'encoded'") from error
    whole = images.dtype.kind in "iu" and images.ndim == 4 and images.shape[-1] == 3
    if not whole or images.min(initial=0) < 0 or images.max(initial=0) > 255:
        raise HTTPException(400, "images: expected [B, H, W, 3] whole numbers in 0..255")
    return images.astype(np.uint8)


class EverythingIsJson:
    """Middleware that reads every body as JSON, as TensorFlow Serving does; `curl -d` declares a form."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            others = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
            scope = {**scope, "headers": [*others, (b"content-type", b"application/json")]}
        await self.app(scope, receive, send)


def newest(path: Path) -> Path:
    """Return the SavedModel at `path`, or the highest numbered version inside it, as TensorFlow Serving does."""
    if (path / "saved_model.pb").is_file():
        return path
    versions = [entry for entry in path.glob("*") if entry.name.isdigit() and (entry / "saved_model.pb").is_file()]
    if not versions:
        raise SystemExit(f"error: {path}: expected a SavedModel, or a folder of numbered ones")
    return max(versions, key=lambda entry: int(entry.name))


def make_server(path: Path, name: str, workers: int = 1) -> litserve.LitServer:
    """Make a server of one model; each worker is a process with a copy of it."""
    path = newest(path)
    # "cpu" is where LitServe places workers; TensorFlow finds a GPU by itself
    api = Detector(path, name)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=workers, timeout=MAX_WAIT, middlewares=[EverythingIsJson]
    )
    version = path.name if path.name.isdigit() else "1"

    def status() -> dict[str, Any]:
        available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        return {"model_version_status": [{"version": version, **available}]}

    # errors as TensorFlow Serving formats them
    async def refused(request: Request, error: AnyHTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code)

    async def not_json(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": "expected a JSON object"}, 400)

    server.app.add_api_route(f"/v1/models/{name}", status)
    server.app.add_exception_handler(AnyHTTPException, refused)
    server.app.add_exception_handler(RequestValidationError, not_json)
    return server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a SavedModel, or a folder of them whose names are versions")
    parser.add_argument("--name", default="detector", help="name in the URL (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", choices=["127.0.0.1", "0.0.0.0", "::"])
    parser.add_argument("--port", type=int, default=8501, help="default: %(default)s, as TensorFlow Serving")
    parser.add_argument("--workers", type=int, default=1, help="number of processes, each with a copy of the model")
    options = parser.parse_args()
    server = make_server(options.model, options.name, options.workers)
    server.run(host=options.host, port=options.port, num_api_servers=1, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
