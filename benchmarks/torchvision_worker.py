"""The torchvision side of vs_torchvision.py. It runs in an environment with torch and torchvision, without tfrcnn.

It reads commands as JSON lines and answers each with one line: see `vs_torchvision.Worker`.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchvision

# torchvision counts trainable stages from the output side; these are the modules of the frozen stages
FROZEN = {"resnet50": ("conv1", "bn1", "layer1"), "mobilenet": tuple(str(i) for i in range(7))}


class TorchSide:
    """Runs one detector in one mode."""

    def load(
        self,
        name: str,
        weights: str,
        threads: int,
        image: str,
        train: bool,
        size: int,
        classes: int,
        backend: str = "eager",
    ) -> dict[str, Any]:
        """Load a detector; `backend` runs detection: "eager", "compiled", or "onnx" (in ONNX Runtime)."""
        torch.set_num_threads(threads)
        sizes = {"min_size": size, "max_size": size} if train else {}
        make = getattr(torchvision.models.detection, name)
        self.model = make(weights=None, weights_backbone=None, num_classes=classes, **sizes)
        state = {key: torch.tensor(array) for key, array in np.load(weights).items()}
        self.model.load_state_dict(state, strict=False)
        pixels = torch.tensor(np.load(image).astype(np.float32) / 255).permute(2, 0, 1).contiguous()
        self.train = train
        if train:
            self._prepare_training(name, pixels, size)
        else:
            self.model.eval()
            self.images = [pixels]
            self.detect = {"eager": self._eager, "compiled": self._compiled, "onnx": self._onnx}[backend](threads)
        return {"versions": f"torchvision {torchvision.__version__}, torch {torch.__version__}"}

    def _prepare_training(self, name: str, pixels: torch.Tensor, size: int) -> None:
        self.model.train()
        kind = "resnet50" if "resnet50" in name else "mobilenet"
        for child, module in self.model.backbone.body.named_children():
            if child in FROZEN[kind]:
                module.requires_grad_(False)
        for module in self.model.backbone.body.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval().requires_grad_(False)
        image = torch.nn.functional.interpolate(pixels[None], (size, size))[0]
        self.images = [image, image.flip(-1)]
        boxes = torch.tensor([[i * size / 8, i * size / 8, (i + 3) * size / 8, (i + 2) * size / 8] for i in range(5)])
        self.targets = [{"boxes": boxes, "labels": torch.arange(1, 6)} for _ in range(2)]
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(parameters, lr=1e-5, momentum=0.9, weight_decay=1e-4)

    def run(self) -> dict[str, Any]:
        started = time.perf_counter()
        if self.train:
            loss = sum(self.model(self.images, self.targets).values())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        else:
            self.detect()
        return {"seconds": time.perf_counter() - started}

    def _eager(self, threads: int) -> Callable[[], Any]:
        def detect() -> None:
            with torch.inference_mode():
                self.model(self.images)

        return detect

    def _compiled(self, threads: int) -> Callable[[], Any]:
        """Compile convolutions and fully connected layers, channels last: the fastest of torch's own options."""
        import torch._inductor.config

        torch._inductor.config.freezing = True
        model = self.model.to(memory_format=torch.channels_last)
        model.backbone = torch.compile(model.backbone)
        model.rpn.head = torch.compile(model.rpn.head)
        model.roi_heads.box_head = torch.compile(model.roi_heads.box_head)

        def detect() -> None:
            with torch.no_grad():  # torch does not freeze under inference_mode
                self.model(self.images)

        return detect

    def _onnx(self, threads: int) -> Callable[[], Any]:
        import onnxruntime

        file = io.BytesIO()
        torch.onnx.export(self.model, (self.images,), file, opset_version=17, dynamo=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(file.getvalue(), options)
        inputs = {session.get_inputs()[0].name: self.images[0].numpy()}
        return lambda: session.run(None, inputs)

    def stages(self) -> dict[str, float]:
        """Return the milliseconds of one detection per stage, measured by hooks: the minimum of five runs.

        The times of children are subtracted from their parent.
        """
        model, spent, began = self.model, defaultdict(lambda: float("inf")), {}
        parts = {
            "transform": model.transform,
            "backbone": model.backbone.body,
            "pyramid": model.backbone.fpn,
            "RPN head": model.rpn.head,
            "RPN": model.rpn,
            "RoIAlign": model.roi_heads.box_roi_pool,
            "box head": model.roi_heads.box_head,
            "predictor": model.roi_heads.box_predictor,
            "RoI heads": model.roi_heads,
        }
        hooks = []
        for name, module in parts.items():
            hooks.append(module.register_forward_pre_hook(lambda *_, n=name: began.update({n: time.perf_counter()})))
            hooks.append(
                module.register_forward_hook(
                    lambda *_, n=name: spent.update({n: min(spent[n], 1000 * (time.perf_counter() - began[n]))})
                )
            )
        total = 1000 * min(self.run()["seconds"] for _ in range(5))
        for hook in hooks:
            hook.remove()
        head = spent["box head"] + spent["predictor"]
        return {
            **{name: spent[name] for name in ("transform", "backbone", "pyramid", "RPN head")},
            "proposals": spent["RPN"] - spent["RPN head"],
            "RoIAlign": spent["RoIAlign"],
            "box head": head,
            "detections": spent["RoI heads"] - spent["RoIAlign"] - head,
            "all": total,
        }

    def memory(self) -> dict[str, float]:
        return {"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def serve(side: Any) -> None:
    """Answer commands until the input ends."""
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(side, command.pop("do"))(**command)
        print("ANSWER " + json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(TorchSide())
