"""What the server's OpenAPI document says of its answers and of the body of :predict."""

from __future__ import annotations

from typing import Any


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: dict[str, Any], length: int | None = None) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": length or 1, **({"maxItems": length} if length else {})}


def _answers(schema: dict[str, Any], errors: dict[int, str]) -> dict[str, Any]:
    """Write the arguments of a route whose answer has a schema."""
    responses: dict[int | str, Any] = {status: _answer(text, _ERROR) for status, text in errors.items()}
    responses |= {200: _answer("OK", schema), "default": _answer("Refused", _ERROR)}
    return {"responses": responses, "response_model": None}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_ERROR = _object(error=_TEXT)
_LOADING = {503: "The model is being loaded"}
_UNKNOWN = {404: "No such model or version"}

_FILE = _object(b64={"type": "string", "description": "An image file in base64"})
_IMAGE = _list(_list(_list({"type": "integer", "minimum": 0, "maximum": 255}, 3)))
_INSTANCE = {"anyOf": [_FILE, _IMAGE, _object(encoded_images=_FILE), _object(images=_IMAGE)]}
_COLUMNS = {"anyOf": [_list(_FILE), _list(_IMAGE), _object(encoded_images=_list(_FILE)), _object(images=_list(_IMAGE))]}
_SIGNATURE = {
    "type": "string",
    "enum": ["serving_default", "encoded"],
    "default": "serving_default",
    "description": "A run folder also takes explain, with one file, detection and method",
}
_REQUEST = {
    "oneOf": [
        {**_object(instances=_list(_INSTANCE), signature_name=_SIGNATURE), "required": ["instances"]},
        {**_object(inputs=_COLUMNS, signature_name=_SIGNATURE), "required": ["inputs"]},
    ]
}
_DETECTIONS = _object(
    detection_boxes=_list(_list(_NUMBER, 4)),
    detection_classes=_list(_NUMBER),
    detection_scores=_list(_NUMBER),
    num_detections=_NUMBER,
)
_EXPLANATION = _object(
    heat=_FILE, proposal=_list(_NUMBER, 4), proposal_score=_NUMBER, proposal_rank={"type": "integer"}, logit=_NUMBER
)
_PREDICTIONS = {
    "anyOf": [
        _object(predictions=_list({"anyOf": [_DETECTIONS, _EXPLANATION]})),
        _object(outputs={"type": "object"}),
    ]
}
_REFUSALS = {
    400: "The request is not one, or a file cannot be decoded",
    **_UNKNOWN,
    408: "The body came too slowly",
    413: "The body, the number of images or an image is too large",
    415: "The body has a Content-Encoding",
    503: "The model is being loaded, or too many requests are waiting",
    504: "No answer within the limit",
}

_CONFIG = {"type": "string", "description": "Label Studio's labelling configuration, in XML"}
_TASK = {"type": "object", "properties": {"id": {"type": "integer"}, "data": {"type": "object"}}, "required": ["data"]}
_REGION = _object(
    id=_TEXT,
    from_name=_TEXT,
    to_name=_TEXT,
    type={"const": "rectanglelabels"},
    original_height={"type": "integer"},
    original_width={"type": "integer"},
    value=_object(x=_NUMBER, y=_NUMBER, width=_NUMBER, height=_NUMBER, rotation=_NUMBER, rectanglelabels=_list(_TEXT)),
    score=_NUMBER,
)
_PRELABELS = _object(result={"type": "array", "items": _REGION}, score=_NUMBER, model_version=_TEXT)

_UNSUITABLE = {409: "The configuration, or the picture of every task, does not suit the detector"}

LIVE = _answers(_object(status=_TEXT), {})
_REFUSED = {"type": "array", "items": _TEXT, "description": "Newer versions that cannot be loaded"}
READY = _answers({**_object(status=_TEXT, refused=_REFUSED), "required": ["status"]}, _LOADING)
STATUS = _answers(
    _object(model_version_status=_list(_object(version=_TEXT, state=_TEXT, status={"type": "object"}))), _UNKNOWN
)
METADATA = _answers(_object(model_spec={"type": "object"}, metadata={"type": "object"}), {**_UNKNOWN, **_LOADING})
_CLASS = _object(id={"type": "integer"}, name=_TEXT)
MODEL = _answers(
    _object(
        name=_TEXT,
        version=_TEXT,
        format=_TEXT,
        precision=_TEXT,
        ready={"type": "boolean"},
        explains={"type": "boolean"},
        classes={"type": "array", "items": _CLASS},
        score_threshold=_NUMBER,
        max_body={"type": "integer"},
    ),
    {},
)
PAGE: dict[str, Any] = {
    "responses": {
        200: {"description": "OK", "content": {"text/html": {"schema": _TEXT}}},
        "default": _answer("Refused", _ERROR),
    },
    "response_model": None,
}
METRICS: dict[str, Any] = {
    "responses": {
        200: {"description": "OK", "content": {"text/plain": {"schema": _TEXT}}},
        501: _answer("prometheus-client is not installed", _ERROR),
        "default": _answer("Refused", _ERROR),
    },
    "response_model": None,
}
PREDICT = {
    **_answers(_PREDICTIONS, _REFUSALS),
    "openapi_extra": _body(_REQUEST),
}
SETUP = {
    **_answers(_object(model_version=_TEXT), {**_REFUSALS, **_UNSUITABLE}),
    "openapi_extra": _body(_object(schema=_CONFIG)),
}
PRELABEL = {
    **_answers(_object(results=_list(_PRELABELS)), {**_REFUSALS, **_UNSUITABLE}),
    "openapi_extra": _body(_object(tasks=_list(_TASK), label_config=_CONFIG)),
}
