"""feeders.py, feed_server.py, graph_pixels.py: the batches of other processes are the batches of this one."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfrcnn
from tfrcnn.config import TrainingConfig
from tfrcnn.data import feeders
from tfrcnn.data.augment.common import Sample
from tfrcnn.data.example import Dataset
from tfrcnn.data.feed_server import Feeder, start_feeder
from tfrcnn.data.graph_pixels import GraphPixels
from tfrcnn.data.image_source import Pixels, image_errors
from tfrcnn.data.pipeline import Share, training_data
from tfrcnn.errors import InputError, LostFeederError

from .test_pipeline import ALL, CONFIG, PLAIN, assert_same, dataset, example, mixed, take

__all__ = ["mixed"]

FORMATS = {"a.jpg": {"quality": 83}, "turned.jpg": {}, "grey.png": {}, "b.bmp": {}, "c.gif": {}}
HOST = "127.0.0.1"
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def two() -> Iterator[list[Feeder]]:
    """Two feeders in this process."""
    started = [start_feeder(HOST, port) for port in two_free_ports(2)]
    yield started
    for feeder in started:
        feeder.stop()


def two_free_ports(count: int) -> list[int]:
    """Return ports whose next port is free, too."""
    ports: list[int] = []
    while len(ports) < count:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("", port + 1))
            except OSError:
                continue
            if all(abs(port - other) > 1 for other in ports):
                ports.append(port)
    return ports


@pytest.fixture
def pictures(tmp_path: Path) -> Dataset:
    """One picture per format, of noise, with a box each."""
    random = np.random.default_rng(0)
    images, boxes = [], []
    for i, (name, options) in enumerate(FORMATS.items()):
        pixels = random.integers(0, 255, (24 + i, 40, 3), np.uint8)
        picture = Image.fromarray(pixels[..., 0] if name.startswith("grey") else pixels).resize((80, 48 + 2 * i))
        exif = Image.Exif()
        if name.startswith("turned"):
            exif[0x0112] = 6
        picture.save(tmp_path / name, exif=exif, **options) if name.endswith("jpg") else picture.save(tmp_path / name)
        width, height = picture.size[::-1] if name.startswith("turned") else picture.size
        images.append({"id": i, "file_name": name, "width": width, "height": height})
        boxes.append({"id": i, "image_id": i, "category_id": 1, "bbox": [2, 3, 20, 30], "area": 600, "iscrowd": 0})
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    return tfrcnn.load_dataset(tmp_path / "boxes.json")


def same_pixels(data: Dataset) -> None:
    in_ops, by_pillow = GraphPixels(data), Pixels(data)
    for index in range(len(data)):
        np.testing.assert_array_equal(in_ops(tf.constant(index)), by_pillow.read(index), str(data.examples[index].path))


def test_pixels_are_those_of_pillow_in_each_format(pictures: Dataset) -> None:
    same_pixels(pictures)


def test_pixels_of_images_inside_tfrecord_shards_are_the_same(pictures: Dataset, tmp_path: Path) -> None:
    tfrcnn.convert_dataset(pictures.source, "tfrecord", tmp_path / "records", shards=2)
    records = tfrcnn.load_dataset(f"{tmp_path}/records/*.tfrecord*")
    assert len(records) == len(FORMATS)
    assert "bytes=" in str(records.examples[0].path)
    same_pixels(records)
    same_pixels(replace(records, examples=[*records.examples, *pictures.examples]))  # whole files between them


def test_an_image_of_another_size_is_named(pictures: Dataset) -> None:
    path = pictures.examples[2].path
    Image.new("RGB", (31, 17)).save(path)
    with pytest.raises(InputError) as caught, image_errors():
        list(tf.data.Dataset.range(2, 3, output_type=tf.int32).map(GraphPixels(pictures)))
    expected = f"{path} (image 3 of 5 in {pictures.source}): expected 80 x 52 px, as when the data set was read"
    assert str(caught.value) == f"{expected}, found 31 x 17 px"


@pytest.mark.parametrize(
    ("training", "count"),
    [(PLAIN.replace(batch_size=2), 2), pytest.param(ALL, 1, marks=SLOW), pytest.param(ALL, 2, marks=SLOW)],
    ids=["plain-2", "all-1", "all-2"],
)
def test_batches_of_feeders_are_the_batches_of_this_process(
    mixed: Dataset, two: list[Feeder], training: TrainingConfig, count: int
) -> None:
    training = training.replace(epochs=3)
    addresses = [feeder.address for feeder in two[:count]]
    here, fed = training_data(mixed, CONFIG, training), training_data(mixed, CONFIG, training, feeders=addresses)
    assert fed.steps_per_epoch == here.steps_per_epoch == 3
    expected = take(here, 9)
    assert_same(take(fed, 100), expected)  # they end after the last epoch
    assert_same(take(fed, 100, start_step=4), expected[4:])
    assert fed.batches().element_spec == here.batches().element_spec


@pytest.mark.slow
@pytest.mark.parametrize("share", [Share(0, 2, 4), Share(1, 2, 2)])
def test_feeders_make_the_share_of_each_worker(mixed: Dataset, two: list[Feeder], share: Share) -> None:
    training = PLAIN.replace(batch_size=4, epochs=4)
    fed = training_data(mixed, CONFIG, training, feeders=[feeder.address for feeder in two])
    expected = training_data(mixed, CONFIG, training).batches(1, share).take(3 * share.replicas // share.workers)
    batches = fed.batches(1, share)
    assert batches.cardinality() == expected.cardinality()
    assert_same(list(batches.as_numpy_iterator()), list(expected.as_numpy_iterator()))


def test_an_augmentation_in_ops_runs_in_the_feeder(mixed: Dataset, two: list[Feeder]) -> None:
    def darken(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> Sample:
        return image // 2, boxes, labels

    fed = training_data(mixed, CONFIG, PLAIN, augment=darken, feeders=[two[0].address])
    assert_same(take(fed, 3), take(training_data(mixed, CONFIG, PLAIN, augment=darken), 3))


def test_an_augmentation_in_python_is_refused(mixed: Dataset, two: list[Feeder]) -> None:
    def darken(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> Sample:
        pixels = tf.numpy_function(lambda pixels: pixels // 2, [image], tf.uint8)
        return tf.ensure_shape(pixels, [None, None, 3]), boxes, labels

    with pytest.raises(InputError, match=r"expected an augmentation of TensorFlow ops alone, found one that calls Py"):
        training_data(mixed, CONFIG, PLAIN, augment=darken, feeders=[two[0].address])


def test_formats_that_tensorflow_may_not_decode_are_refused_together(tmp_path: Path, two: list[Feeder]) -> None:
    images = [example(tmp_path, f"{i}.png", (40, 80)) for i in range(4)]
    for image, kind in zip(images[1:3], ("TIFF", "WEBP")):
        Image.new("RGB", (80, 40)).save(image.path, kind)
    images[3].path.unlink()
    with pytest.raises(InputError) as caught:
        training_data(dataset(*images), CONFIG, PLAIN, feeders=[two[0].address])
    first, *others = str(caught.value).splitlines()
    assert first == ("made by hand: expected JPEG, PNG, BMP or GIF images, which feeders decode, found 3 of 4 others:")
    assert [line.split(": ")[0].split("/")[-1] for line in others] == ["1.png", "2.png", "3.png"]
    assert others[2].endswith("3.png: No such file or directory")


def test_an_image_that_the_feeder_cannot_see_is_named(mixed: Dataset, two: list[Feeder]) -> None:
    fed = training_data(mixed, CONFIG, PLAIN, feeders=[two[0].address])
    path = mixed.examples[3].path
    path.unlink()
    with pytest.raises(InputError) as caught, feeders.watched([two[0].address]):
        take(fed, 7)
    expected = "all machines must see the same images at the same path"
    assert str(caught.value) == f"a feeder found nothing at {path}: {expected}"


@pytest.mark.parametrize(
    ("addresses", "message"),
    [
        ("10.0.0.7:5050", "feeders: expected a list of HOST:PORT, found '10.0.0.7:5050'"),
        ([5050], r"feeders: expected a list of HOST:PORT, found \[5050\]"),
        (["10.0.0.7"], "feeders: expected HOST:PORT, for example 10.0.0.7:5050, found '10.0.0.7'"),
        (["http://a:5050"], "feeders: expected HOST:PORT, .*, found 'http://a:5050'"),
        (["a:0"], "feeders: expected HOST:PORT, .*, found 'a:0'"),
        (["a:65536"], "feeders: expected HOST:PORT, .*, found 'a:65536'"),
        (["{free}"], "feeders: expected `tfrcnn feed` at 127.0.0.1:.*, found that nothing answers there"),
        (["{here}", "{here}"], "feeders: expected each feeder once, found 127.0.0.1:.* 2 times"),
    ],
)
def test_what_is_no_feeder_is_refused(addresses: object, message: str, two: list[Feeder]) -> None:
    names = {"free": f"{HOST}:{two_free_ports(1)[0]}", "here": two[0].address}
    if isinstance(addresses, list):
        addresses = [each.format(**names) if isinstance(each, str) else each for each in addresses]
    with pytest.raises(InputError, match=message):
        feeders.check_feeders(addresses)


def test_all_wrong_addresses_are_reported_together() -> None:
    with pytest.raises(InputError) as caught:
        feeders.check_feeders(["a", "b:0"])
    assert len(caught.value.messages) == 2


def test_feeders_and_a_cache_exclude_each_other(mixed: Dataset, two: list[Feeder]) -> None:
    with pytest.raises(InputError, match="feeders: expected no cache, since the feeders decode the images"):
        training_data(mixed, CONFIG, PLAIN, cache=True, feeders=[two[0].address])


def test_a_server_that_is_no_feeder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Print nothing."""

    monkeypatch.setattr(feeders, "_SECONDS_TO_FEED", 2.0)
    with ThreadingHTTPServer((HOST, 0), Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(InputError, match=r"expected a batch from .*, found none within 2 s\. It must be `tfrcnn f"):
            feeders.check_feeders([f"{HOST}:{server.server_address[1]}"])
        server.shutdown()


def test_a_feeder_whose_name_is_unknown_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeders, "_SECONDS_TO_FEED", 2.0)
    feeder = start_feeder("no-such-host.invalid", two_free_ports(1)[0])
    with pytest.raises(InputError, match="its --host must be a name that this machine knows"):
        feeders.check_feeders([f"{HOST}:{feeder.address.split(':')[1]}"])
    feeder.stop()


@pytest.mark.parametrize("offset", [0, -1])
def test_a_port_that_is_taken_is_refused(two: list[Feeder], offset: int) -> None:
    port = int(two[0].address.split(":")[1])
    with pytest.raises(InputError, match=f"port: expected {port} to be free, found that Address already in use"):
        start_feeder(HOST, port + offset)


@pytest.mark.parametrize("host", ["", "a:5050", "http://a", "::1", "a b"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(InputError, match=r"host: expected a name or an address without a port, found .*; IPv6 in brac"):
        start_feeder(host, 5050)


@pytest.mark.parametrize("port", [0, 65535, -1])
def test_what_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(InputError, match=f"port: expected 1 to 65534, found {port}"):
        start_feeder(HOST, port)


def take_until(end: Callable[[], object], mixed: Dataset, feeder: Feeder) -> None:
    """Take batches, and end the feeder after the third."""
    batches = iter(training_data(mixed, CONFIG, PLAIN.replace(epochs=10_000), feeders=[feeder.address]).batches())
    step = tf.function(lambda: next(batches)["image_index"])
    with feeders.watched([feeder.address]):
        for count in range(70_000):
            step()
            if count == 2:
                end()


@pytest.mark.slow
def test_a_feeder_that_has_gone_ends_the_step_that_waits(monkeypatch: pytest.MonkeyPatch, mixed: Dataset) -> None:
    monkeypatch.setattr(feeders, "_SECONDS_BETWEEN", 0.2)
    monkeypatch.setattr(feeders, "PATIENCE", 2.0)
    feeder = start_feeder(HOST, two_free_ports(1)[0])
    with pytest.raises(InputError, match=rf"the feeder {feeder.address} has not answered for 2 s\. The run goes on"):
        take_until(feeder.stop, mixed, feeder)


@pytest.mark.slow
def test_the_loss_of_a_feeder_under_a_strategy_has_a_kind_of_its_own(
    monkeypatch: pytest.MonkeyPatch, mixed: Dataset
) -> None:
    monkeypatch.setattr(feeders, "_SECONDS_BETWEEN", 0.2)
    monkeypatch.setattr(feeders, "PATIENCE", 2.0)
    feeder = start_feeder(HOST, two_free_ports(1)[0])
    with tf.distribute.OneDeviceStrategy("CPU:0").scope(), pytest.raises(LostFeederError, match="has not answered"):
        take_until(feeder.stop, mixed, feeder)


@pytest.mark.slow
def test_a_feeder_that_was_started_again_ends_the_run(mixed: Dataset) -> None:
    started = [start_feeder(HOST, two_free_ports(1)[0])]

    def restart() -> None:
        started[0].stop()
        started.append(start_feeder(HOST, int(started[0].address.split(":")[1])))

    with pytest.raises(InputError, match=r"a feeder was started again while it fed this run\. The run goes on after"):
        take_until(restart, mixed, started[0])
    started[1].stop()


def test_other_errors_pass_the_watch(two: list[Feeder]) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError), feeders.watched([two[0].address]):
        tf.debugging.assert_equal(1, 2)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff cut off"])
def test_an_image_that_is_another_file_at_the_feeder_is_named(pictures: Dataset, content: bytes) -> None:
    pixels, path = GraphPixels(pictures), pictures.examples[0].path
    length = path.stat().st_size
    path.write_bytes(content)
    with pytest.raises(InputError) as caught, image_errors():
        list(tf.data.Dataset.range(1, output_type=tf.int32).map(pixels))
    expected = f"{path} (image 1 of 5 in {pictures.source}): expected {length} bytes, as when the data set was read"
    assert str(caught.value) == f"{expected}, found {len(content)} bytes"


def test_a_file_that_tensorflow_cannot_decode_is_one_line(mixed: Dataset, two: list[Feeder]) -> None:
    path = mixed.examples[3].path
    path.write_bytes(path.read_bytes()[:60])  # before the data are made, so the length is the same
    fed = training_data(mixed, CONFIG, PLAIN, feeders=[two[0].address])
    with pytest.raises(InputError) as caught, feeders.watched([two[0].address]):
        take(fed, 7)
    assert str(caught.value).startswith("a feeder cannot decode an image: ")
    assert str(caught.value).endswith(". The run goes on without feeders, which read it by Pillow")


def test_an_image_that_is_a_folder_at_the_feeder_is_named(mixed: Dataset, two: list[Feeder]) -> None:
    fed = training_data(mixed, CONFIG, PLAIN, feeders=[two[0].address])
    path = mixed.examples[3].path
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError) as caught, feeders.watched([two[0].address]):
        take(fed, 7)
    expected = "Is a directory; all machines must see the same images at the same path"
    assert str(caught.value) == f"a feeder cannot read {path}: {expected}"


def test_a_process_that_hangs_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeders, "_SECONDS_TO_ANSWER", 0.5)
    # the system accepts connections, as for a stopped process
    with socket.create_server((HOST, 0)) as silent, pytest.raises(InputError, match="that nothing answers there"):
        feeders.check_feeders([f"{HOST}:{silent.getsockname()[1]}"])
