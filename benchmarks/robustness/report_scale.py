"""Time, memory and size of the page of `tfrcnn data` on many images.

    python benchmarks/robustness/report_scale.py --data BCCD@trainval --images 10000

The images of a data set are repeated. A number at the end of each file makes its content differ, so that all are read
and almost every image has a near-duplicate. Prints seconds, CPU seconds, the memory that the imported
libraries do not take, and the size of the page.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import tfrcnn


def write(folder: Path, source: str, count: int) -> str:
    """Write `count` images with the boxes of another data set, and their COCO file; return its path."""
    dataset = tfrcnn.load_dataset(source)
    images, annotations = [], []
    for number in range(count):
        example = dataset.examples[number % len(dataset)]
        name = f"{number:06}{example.path.suffix}"
        (folder / name).write_bytes(example.path.read_bytes() + f"{number:08}".encode())
        images.append({"id": number, "file_name": name, "width": example.width, "height": example.height})
        for (y1, x1, y2, x2), label in zip(example.boxes.tolist(), example.labels.tolist()):
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "category_id": label + 1}
            annotations.append({"id": len(annotations) + 1, "image_id": number, **box})
    categories = [{"id": label + 1, "name": category.name} for label, category in enumerate(dataset.categories)]
    path = folder / "instances.json"
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def measure(data: str, out: Path) -> str:
    """Write the page, and say what it took."""
    preset = tfrcnn.preset("mobilenet_v2_fpn")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    numbers = tfrcnn.data_report(data, out, preset=preset)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
    count, pairs = numbers["splits"]["data"]["summary"]["images"], len(numbers["near_duplicates"])
    return (
        f"{count:,} images, {pairs:,} near-duplicates: {seconds:.0f} s ({cpu:.0f} s of CPU), "
        f"{memory:.2f} GB, a page of {out.stat().st_size / 1e6:.1f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the data set whose images are repeated")
    parser.add_argument("--images", type=int, default=10_000, help="number of images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(measure(write(Path(folder), options.data, options.images), Path(folder) / "report.html"))


if __name__ == "__main__":
    main()
