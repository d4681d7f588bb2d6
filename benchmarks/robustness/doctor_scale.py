"""Time and memory of reading and diagnosing a data set of COCO's size, whose images are links to a few real files.

    python benchmarks/robustness/doctor_scale.py --data coco_val2017_66/instances.json --images 118000

Prints seconds, CPU seconds and peak memory of reading (`read_dataset`) and of the doctor (`diagnose`, which decodes
every image).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

from tfrcnn.data.doctor import diagnose
from tfrcnn.data.read import load_dataset, read_dataset
from tfrcnn.models.presets import preset

STRIDES = (4, 8, 16, 32)  # of tiny_fpn


def write(folder: Path, source: Path, count: int) -> str:
    """Write a COCO file of `count` images, which repeats the images and annotations of another, masks included.

    Args:
        folder: where the file and the links to the images go.
        source: a COCO file.
        count: the number of images.

    Returns:
        The path of the file.
    """
    content = json.loads(source.read_text(encoding="utf-8"))
    paths = {example.image_id: example.path for example in load_dataset(str(source)).examples}
    by_image: dict[int, list[dict[str, object]]] = {}
    for annotation in content["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    images, annotations = [], []
    for number in range(count):
        image = content["images"][number % len(content["images"])]
        name = f"{number:012}.jpg"
        os.symlink(paths[image["id"]].resolve(), folder / name)
        images.append({**image, "id": number, "file_name": name})
        for annotation in by_image.get(image["id"], []):
            annotations.append({**annotation, "id": len(annotations) + 1, "image_id": number})
    path = folder / "instances.json"
    repeated = {"images": images, "annotations": annotations, "categories": content["categories"]}
    path.write_text(json.dumps(repeated), encoding="utf-8")
    print(f"{count:,} images, {len(annotations):,} boxes, {path.stat().st_size / 1e6:.0f} MB of JSON", flush=True)
    return str(path)


def measure(data: str, doctor: bool) -> None:
    """Read a data set in a new process, with or without the doctor, and print seconds and peak memory in GB."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        start = time.perf_counter()
        if doctor:
            config = preset("tiny_fpn").detector
            report = diagnose(data, None, config, STRIDES)
        else:
            report = read_dataset(data)[1]
        seconds = time.perf_counter() - start
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6
        os.write(writer, json.dumps([seconds, cpu, peak, report.counts()]).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    seconds, cpu, peak, counts = json.loads(os.read(reader, 1 << 16))
    os.close(reader)
    print(
        f"{'doctor' if doctor else 'reading'}: {seconds:.0f} s ({cpu:.0f} s of CPU), peak {peak:.2f} GB, {counts}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("TFRCNN_TEST_DATA", ".")) / "coco_val2017_66" / "instances.json"
    parser.add_argument("--data", type=Path, default=default, help="a COCO file whose images are repeated")
    parser.add_argument("--images", type=int, default=118_000, help="number of images")
    parser.add_argument("--read-only", action="store_true", help="leave the doctor out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = write(Path(folder), options.data, options.images)
        measure(data, doctor=False)
        if not options.read_only:
            measure(data, doctor=True)


if __name__ == "__main__":
    main()
