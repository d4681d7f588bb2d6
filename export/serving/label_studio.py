"""Label Studio's ML-backend protocol: boxes of the detector as pre-labels, which people then correct.

Label Studio sends `POST /setup` with a project's labelling configuration when the server is connected, and
`POST /predict` with tasks. A task names its picture by an address, see `remote.Remote`. The answer has one result for
each task: rectangles in percent of the picture. https://labelstud.io/guide/ml_create
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from fastapi import HTTPException, Request

from .protocol import echo, read_json
from .remote import Remote, RemoteError

if TYPE_CHECKING:
    from .app import Service

ORIENTATION = 0x0112  # EXIF's tag
UNSUITABLE = 409  # a configuration, a task or a picture that is JSON as it should be, and that the detector cannot use


class Control(NamedTuple):
    """The part of a labelling configuration that takes boxes.

    Attributes:
        from_name: The name of its RectangleLabels.
        to_name: The name of the Image that they are for.
        key: The field of a task's data that holds the picture's address.
        labels: What a result calls a class, by the names that a configuration has for it, in lower case.
    """

    from_name: str
    to_name: str
    key: str
    labels: dict[str, str]


def read_config(text: Any) -> Control:
    """Read a labelling configuration.

    Args:
        text: Its XML. A Label's `alias` is what results hold, and `predicted_values` names more classes that it takes.

    Raises:
        HTTPException: 409, there are no RectangleLabels of an Image in it.
    """
    try:
        import defusedxml.ElementTree
    except ImportError as error:
        raise HTTPException(501, "pre-labels need defusedxml and pillow: pip install defusedxml pillow") from error
    try:
        root = defusedxml.ElementTree.fromstring(text if isinstance(text, str) else "")
    except Exception as error:  # of the syntax, or something that defusedxml forbids
        raise HTTPException(UNSUITABLE, "expected a labelling configuration in XML") from error
    images = {image.get("name"): image.get("value", "") for image in root.iter("Image")}
    for control in root.iter("RectangleLabels"):
        to_name = (control.get("toName") or "").split(",")[0]
        if to_name in images:
            labels: dict[str, str] = {}
            for attributes in (("value", "alias"), ("predicted_values",)):  # a label of this very name comes first
                for label in control.iter("Label"):
                    words = ",".join(label.get(attribute, "") for attribute in attributes).split(",")
                    for word in words:
                        labels.setdefault(word.strip().casefold(), label.get("alias") or label.get("value", ""))
            labels.pop("", None)
            return Control(control.get("name", ""), to_name, images[to_name].lstrip("$"), labels)
    raise HTTPException(UNSUITABLE, "expected RectangleLabels whose toName is an Image in the configuration")


class LabelStudio:
    """Answers Label Studio for a service."""

    def __init__(self, service: Service, remote: Remote) -> None:
        self.service, self.remote = service, remote
        self.turns = asyncio.Semaphore(2 * service.pool.count)  # pictures that are in memory at a time

    @property
    def version(self) -> str:
        return f"{self.service.name}-{self.service.version}"

    def _match(self, control: Control) -> dict[int, str]:
        """Return the label of each category id that has one."""
        categories = self.service.pool.description.get("categories", [])
        labels = {c["id"]: control.labels.get(c["name"].casefold()) for c in categories}
        matched = {number: label for number, label in labels.items() if label is not None}
        if not matched:
            expected = ", ".join(category["name"] for category in categories)[:200]
            raise HTTPException(
                UNSUITABLE, f"no label of the configuration is a class of the detector; its classes are: {expected}"
            )
        return matched

    async def setup(self, request: Request) -> dict[str, str]:
        """Answer `POST /setup`: whether the labels of a project are classes of the detector."""
        async with self.service.accept(request) as (body, _):
            content = await asyncio.to_thread(read_json, body)
            self._match(await asyncio.to_thread(read_config, content.get("schema")))
        return {"model_version": self.version}

    async def predict(self, request: Request) -> dict[str, Any]:
        """Answer `POST /predict`: one result for each task, in their order.

        A task whose picture cannot be used gets an empty result, so that the others are answered. If there is no
        other, the request fails.
        """
        async with self.service.accept(request) as (body, deadline):
            content = await asyncio.to_thread(read_json, body)
            tasks, limits = content.get("tasks"), self.service.pool.limits
            if not isinstance(tasks, list) or not tasks or not all(isinstance(task, dict) for task in tasks):
                raise HTTPException(400, "tasks: expected a list of tasks")
            if len(tasks) > limits.images:
                raise HTTPException(413, f"tasks: expected at most {limits.images}, found {len(tasks)}")
            control = await asyncio.to_thread(read_config, content.get("label_config"))
            self._match(control)
            work = [self._task(task, control, deadline) for task in tasks]
            results = await asyncio.gather(*work, return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        for error in errors:
            if not isinstance(error, HTTPException):
                raise error
            print(f"error: {error.detail}", file=sys.stderr)
        if len(errors) == len(tasks):
            raise errors[0]
        empty = {"result": [], "score": 0.0, "model_version": self.version}
        return {"results": [empty if isinstance(r, BaseException) else r for r in results]}

    async def _task(self, task: dict[str, Any], control: Control, deadline: float) -> dict[str, Any]:
        """Detect in the picture of one task."""
        name, data = f"task {echo(task.get('id'))}", task.get("data")
        address = data.get(control.key) if isinstance(data, dict) else None
        if not isinstance(address, str):
            raise HTTPException(UNSUITABLE, f"{name}: expected the address of a picture in data[{control.key!r}]")
        async with self.turns:
            if time.monotonic() > deadline:  # waited too long for its turn
                raise HTTPException(504, f"{name}: no answer within {self.service.pool.limits.seconds:g} seconds")
            try:
                body, size = await asyncio.to_thread(self._fetch, address)
            except RemoteError as error:
                raise HTTPException(UNSUITABLE, f"{name}: {error}") from error
            labels, version = self._match(control), self.version  # of the model that answers: another may follow
            status, answer = await self.service.pool.predict(body, deadline)
        outputs = json.loads(answer)
        if status != 200:
            raise HTTPException(UNSUITABLE if status == 400 else status, f"{name}: {outputs['error']}")
        regions = self._regions(outputs["predictions"][0], size, control, labels)
        score = sum(region["score"] for region in regions) / max(len(regions), 1)
        return {"result": regions, "score": score, "model_version": version}

    def _fetch(self, address: str) -> tuple[bytes, tuple[int, int]]:
        """Return the request for a picture, and its upright size."""
        content = self.remote.fetch(address)
        try:
            size = upright_size(content)
        except Exception as error:  # Pillow raises many kinds for a file that it cannot read
            raise RemoteError("expected a picture that can be read") from error
        body = {"signature_name": "encoded", "instances": [{"b64": base64.b64encode(content).decode()}]}
        return json.dumps(body).encode(), size

    def _regions(
        self, row: dict[str, Any], size: tuple[int, int], control: Control, labels: dict[int, str]
    ) -> list[dict[str, Any]]:
        """Write detections as Label Studio's rectangles."""
        regions = []
        for i in range(int(row["num_detections"])):
            label, score = labels.get(int(row["detection_classes"][i])), row["detection_scores"][i]
            if label is None or score <= self.service.choices.score_threshold:
                continue
            y1, x1, y2, x2 = (100 * side for side in row["detection_boxes"][i])
            box = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1, "rotation": 0, "rectanglelabels": [label]}
            region = {"id": uuid.uuid4().hex[:10], "from_name": control.from_name, "to_name": control.to_name}
            sides = {"original_height": size[0], "original_width": size[1], "image_rotation": 0}
            regions.append({**region, "type": "rectanglelabels", **sides, "value": box, "score": score})
        return regions


def upright_size(content: bytes) -> tuple[int, int]:
    """Return (H, W) of an image file after its EXIF orientation is applied; only the header is read."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)
