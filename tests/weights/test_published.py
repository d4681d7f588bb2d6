"""Published checkpoints by name: the table, the cache, two downloads at once, no network, and what is made of them."""

import dataclasses
import errno
import hashlib
import re
import threading

import numpy as np
import pytest

from tfrcnn import locks
from tfrcnn.config import Category
from tfrcnn.data import download as downloading
from tfrcnn.data.download import RemoteFile
from tfrcnn.errors import InputError
from tfrcnn.locks import FolderLock
from tfrcnn.models import build_blank_detector, build_detector, load_detector, preset
from tfrcnn.models.preset_table import PRESETS
from tfrcnn.training import start as starting
from tfrcnn.training.recipe import Recipe
from tfrcnn.weights import importing, published
from tfrcnn.weights.importing import SOURCES, import_weights, published_run, run_folder
from tfrcnn.weights.published import PUBLISHED, cache_of, checkpoint_of, is_published, published_names

from ..data.conftest import server as server
from .test_importing import MOBILENET, state_of

CONTENT = bytes(range(256)) * 40
NAME = "coco-test"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFRCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(locks, "POLL", 0.01)
    monkeypatch.setattr(downloading, "PAUSES", (0.0, 0.0))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "weights" / NAME


def publish(monkeypatch, server, content=CONTENT, **fields):
    """Serve a checkpoint under the name `NAME`, of which the first digits of the checksum are known."""
    server.files["model-x.pth"] = content
    file = RemoteFile(server.url("model-x.pth"), None, f"sha256:{hashlib.sha256(content).hexdigest()[:8]}")
    entry = dataclasses.replace(PUBLISHED["coco-mobilenet-v3-large-320"], file=file, **fields)
    monkeypatch.setitem(PUBLISHED, NAME, entry)


# "_file_size" of torchvision's WeightsEnum
MEBIBYTES = {
    "coco-resnet50": 159.743,
    "coco-resnet50-v2": 167.104,
    "coco-mobilenet-v3-large": 74.239,
    "coco-mobilenet-v3-large-320": 74.239,
    "imagenet-resnet50": 97.781,
    "imagenet-resnet50-v2": 97.79,
    "imagenet-mobilenet-v3-large": 21.114,
    "imagenet-mobilenet-v3-large-v2": 21.107,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_entry_states_what_its_library_publishes(name):
    entry = PUBLISHED[name]
    algorithm, _, digits = entry.file.checksum.partition(":")
    assert re.fullmatch(r"https://(download\.pytorch\.org|dl\.fbaipublicfiles\.com)/[\w./-]+", entry.file.url)
    in_name = re.search(r"[-_]([0-9a-f]+)\.(pth|pkl)$", entry.file.name)[1]
    if entry.source == "torchvision":
        assert round(entry.file.size / 2**20, 3) == MEBIBYTES[name]
        assert digits.startswith(in_name)
        assert len(in_name) == 8
    if algorithm == "sha256":
        assert re.fullmatch("[0-9a-f]{64}", digits)
        assert entry.file.size > 1e7
    else:
        assert (entry.source, algorithm, digits) == ("detectron2", "md5", in_name)
    assert entry.preset in PRESETS
    if entry.kind == "detector":
        assert name.startswith("coco-")
        assert entry.preset in SOURCES[entry.source].presets
    else:
        assert name.startswith("imagenet-")


def test_a_checkpoint_is_downloaded_once_and_its_sha256_recorded(server, cache, monkeypatch):
    publish(monkeypatch, server)
    server.cuts = [1000]
    path = checkpoint_of(NAME)
    assert path == cache / "model-x.pth"
    assert path.read_bytes() == CONTENT
    record = f"{hashlib.sha256(CONTENT).hexdigest()}  model-x.pth\n"
    assert (cache / "model-x.pth.sha256").read_text() == record
    assert checkpoint_of(NAME) == path
    assert server.requests == [None, "bytes=1000-"]
    assert sorted(p.name for p in cache.iterdir()) == ["model-x.pth", "model-x.pth.sha256"]


def test_a_file_that_is_not_the_recorded_one_is_refused(server, cache, monkeypatch):
    publish(monkeypatch, server)
    path = checkpoint_of(NAME)
    (cache / "model-x.pth.sha256").write_text("0" * 64)
    with pytest.raises(InputError, match=r"model-x.pth: expected the sha256 0{64} that model-x.pth.sha256 recorded"):
        checkpoint_of(NAME)
    path.write_bytes(CONTENT[1:])
    with pytest.raises(InputError, match=r"expected the sha256 [0-9a-f]{8}, found .*; remove it and run the same"):
        checkpoint_of(NAME)


def test_the_cache_is_tfrcnn_cache_or_else_xdgs_or_else_in_the_home(monkeypatch, tmp_path):
    assert cache_of("a") == tmp_path / "cache/weights/a"
    monkeypatch.setenv("TFRCNN_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_of("a") == tmp_path / "xdg/tfrcnn/weights/a"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_of("a") == tmp_path / "home/.cache/tfrcnn/weights/a"


def test_without_a_network_the_error_says_which_file_to_copy_where(server, cache, monkeypatch):
    publish(monkeypatch, server)
    url = server.url("model-x.pth")
    server.shutdown()
    server.server_close()
    with pytest.raises(
        InputError, match=rf"cannot be reached .* copy {url} into {cache} by other means and run the same"
    ):
        checkpoint_of(NAME)
    assert cache.is_dir()
    (cache / "model-x.pth").write_bytes(CONTENT)
    assert checkpoint_of(NAME).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_one_line(server, cache, monkeypatch, tmp_path):
    publish(monkeypatch, server)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(InputError, match=r"weights/coco-test: Not a directory$"):
        checkpoint_of(NAME)


def test_a_cache_that_is_read_only_serves_the_files_that_it_has(server, cache, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    publish(monkeypatch, server)
    cache.mkdir(parents=True)
    monkeypatch.setattr(FolderLock, "acquire", refuse)
    monkeypatch.setattr(published, "atomic", refuse)
    with pytest.raises(InputError, match=r"coco-test/\.lock\.tmp: Read-only file system$"):
        checkpoint_of(NAME)
    (cache / "model-x.pth").write_bytes(CONTENT)
    assert checkpoint_of(NAME) == cache / "model-x.pth"


def test_a_second_download_waits_for_the_first_and_takes_its_file(server, cache, monkeypatch, capsys):
    publish(monkeypatch, server)
    cache.mkdir(parents=True)
    other = FolderLock(cache)
    other.acquire()
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(checkpoint_of(NAME))) for _ in range(2)]
    for thread in threads:
        thread.start()
    threads[0].join(0.3)
    assert paths == []
    assert server.requests == []
    other.release()
    for thread in threads:
        thread.join(20)
    assert paths == [cache / "model-x.pth"] * 2
    assert server.requests == [None]
    assert "waiting for another download of coco-test: " in capsys.readouterr().err


def test_a_file_or_folder_of_the_name_comes_before_the_published_one(tmp_path):
    assert is_published("coco-resnet50", "detector")
    assert not is_published("coco-resnet50", "backbone")
    (tmp_path / "coco-resnet50").mkdir()
    assert not is_published("coco-resnet50", "detector")
    assert starting.run_of("coco-resnet50") == "coco-resnet50" == str(run_folder("coco-resnet50"))


def test_a_name_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(
        InputError, match=r"coco-resnet51: expected a file or one of coco-resnet50, .*; found no such file"
    ):
        import_weights("coco-resnet51")
    with pytest.raises(
        InputError, match=r"no detector in coco-resnet51: expected a folder, .* or one of coco-resnet50, "
    ):
        Recipe("a.json", init="coco-resnet51").resolved()
    config = preset(MOBILENET).detector
    with pytest.raises(InputError, match=r"One of imagenet-resnet50, .* is downloaded\.$"):
        starting.starting_weights("imagenet-resnet51", config)


def test_a_name_has_its_preset_and_library_and_takes_no_other():
    with pytest.raises(InputError, match="coco-resnet50 has the preset fasterrcnn_resnet50_fpn, found 'resnet50_fpn'"):
        import_weights("coco-resnet50", "resnet50_fpn")
    with pytest.raises(InputError, match="coco-resnet50 has the source torchvision, found 'detectron2'"):
        import_weights("coco-resnet50", source="detectron2")
    with pytest.raises(InputError, match=r"a\.pth: a file needs the preset of its network"):
        import_weights("a.pth")


def test_a_run_starts_from_a_name_which_its_recipe_keeps(server, monkeypatch, cache):
    publish(monkeypatch, server)
    detector = build_detector(preset("tiny_fpn", (Category(1, "cat"),)).detector)
    imports = []
    monkeypatch.setattr(importing, "import_weights", lambda *arguments: imports.append(arguments) or detector)
    recipe = Recipe("a.json", init=NAME).resolved()
    assert recipe.init == NAME
    assert recipe.detector == detector.config
    assert imports == [(cache / "model-x.pth", "fasterrcnn_mobilenet_v3_large_320_fpn", "torchvision")]
    folder = published_run(NAME)
    assert len(imports) == 1
    assert run_folder(NAME) == folder
    assert folder.parent == cache
    assert (folder / "config.json").is_file()


def test_a_backbone_starts_from_a_name_which_its_recipe_keeps(server, monkeypatch, cache):
    publish(monkeypatch, server, kind="backbone")
    recipe = Recipe("a.json", model=MOBILENET, backbone_weights=NAME).resolved()
    assert recipe.backbone_weights == NAME
    assert (cache / "model-x.pth").is_file()
    with pytest.raises(InputError, match=r"model-x.pth: expected weights as .pth"):
        starting.starting_detector(
            recipe.detector.replace(categories=(Category(1, "cat"),)), recipe.training, NAME, None, None, print
        )


@pytest.mark.slow
def test_a_served_checkpoint_becomes_a_detector_of_coco(server, monkeypatch, cache, tmp_path):
    blank = build_blank_detector(preset(MOBILENET, SOURCES["torchvision"].coco).detector)
    state = state_of(blank, "torchvision")
    np.savez(tmp_path / "model.npz", **state)
    publish(monkeypatch, server, (tmp_path / "model.npz").read_bytes(), preset=MOBILENET)
    server.cuts = [1_000_000]
    detector = load_detector(published_run(NAME))
    np.testing.assert_array_equal(
        detector.box_head.classifier.bias, np.roll(state["roi_heads.box_predictor.cls_score.bias"], -1)
    )


@pytest.mark.slow
def test_a_real_file_is_served_cut_and_continued(server, monkeypatch, data_root):
    path = data_root.parent / "weights" / "mobilenet_v2_1.00_160_no_top.weights.h5"
    if not path.is_file():
        pytest.skip("there are no weights next to TFRCNN_TEST_DATA")
    publish(monkeypatch, server, path.read_bytes(), kind="backbone")
    server.cuts = [4_000_000, 4_000_000]
    assert checkpoint_of(NAME).stat().st_size == path.stat().st_size
    assert server.requests == [None, "bytes=4000000-", "bytes=8000000-"]
    assert published_names("backbone")[-1] == NAME
