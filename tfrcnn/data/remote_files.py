"""The file systems of addresses, by fsspec: what to copy for an address, where its copy is, and errors in one line."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from tfrcnn.data.headers import EXTENSIONS
from tfrcnn.data.media import is_address
from tfrcnn.data.sources import walk
from tfrcnn.errors import InputError, reason_of
from tfrcnn.files import cache_folder, digest_of
from tfrcnn.printable import without_login

WEB = ("http", "https")
_WHOLE_FOLDER = (".yaml", ".yml", ".csv", ".xml")  # files that do not name all files of their data set
_VERSIONS = ("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "last_modified", "updated", "created")
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
_OTHER_PACKAGES = {"hdfs": "pyarrow", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}  # not in the extra
_MAX_MISSES = 20  # files that a web server does not have, before its folder counts as empty
BUCKETS = (*(_PACKAGES.keys() - WEB), *_OTHER_PACKAGES, "memory")
_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket FSSPEC_S3_ANON=true",
    "gs": "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS; for a public bucket "
    "FSSPEC_GS_TOKEN=anon",
}
_REFUSALS = ("credential", "forbidden", "access denied", "unauthorized", "401", "403")  # in errors of file systems


def can_read(name: str) -> bool:
    """Return whether a name is an address whose packages are installed."""
    if not is_address(name):
        return False
    scheme = name.partition("://")[0].lower()
    package = _PACKAGES.get(scheme) or _OTHER_PACKAGES.get(scheme, "fsspec")
    return find_spec("fsspec") is not None and find_spec(package) is not None


def is_bucket(name: str) -> bool:
    """Return whether a name is an address in a bucket or another file system, not on a web server."""
    return is_address(name) and name.partition("://")[0].lower() in BUCKETS


class Entry(NamedTuple):
    """A file at an address.

    Attributes:
        path: as its file system names it.
        size: in bytes; None if it is not known before the file is copied.
        version: changes with the content, for example an ETag; None if it is not known.
    """

    path: str
    size: int | None
    version: str | None


class Remote:
    """An address, its file system and its copy in the cache.

    Attributes:
        address: without login, for messages.
        scheme: for example "s3".
        filesystem: of fsspec.
        path: as the file system names it.
        is_pattern: whether the path has wildcards.
    """

    def __init__(self, address: str) -> None:
        self.address, self.scheme = without_login(address), address.partition("://")[0].lower()
        if self.scheme in WEB and without_login(address) != address:
            raise InputError(
                f"{self.address}: expected an address without a name and a password, which reports would show: "
                "download the data first"
            )
        # not in its paths; fsspec takes "default" from the settings of Hadoop
        self._host = (urlsplit(address).netloc or "default") if self.scheme == "hdfs" else ""
        self._files: dict[str, Entry] | None = None
        self._misses = 0
        with self.errors():
            from fsspec.core import url_to_fs

            self.filesystem, self.path = url_to_fs(address)
            self.filesystem.invalidate_cache()
        self.is_pattern = self.scheme not in WEB and glob.has_magic(self.path)

    @property
    def copy(self) -> Path:
        """The path of the copy in the cache."""
        return self.local(self.path)

    def local(self, path: str) -> Path:
        """Return where the copy of a file is.

        Raises:
            InputError: its name leads out of the cache.
        """
        if self.scheme in WEB:
            url = urlsplit(path)
            folder, _, name = f"{url.netloc}{url.path}".rpartition("/")
            path = f"{folder}/query={digest_of(url.query)}/{name}" if url.query else f"{folder}/{name}"
            path = unquote(path)  # as annotations name the file
        parts = [part for part in (self._host, *path.split("/")) if part]
        if "." in parts or ".." in parts:
            raise InputError(f"{self.address}: expected names without . and .. as folders, found {path}")
        return cache_folder("data", self.scheme, *parts)

    def exists(self) -> bool:
        """Return whether there is something at the address."""
        with self.errors():
            return bool(self.filesystem.glob(self.path)) if self.is_pattern else self._exists(self.path)

    def listing(self) -> tuple[list[Entry], Iterable[Path]]:
        """List the files to copy, see `tfrcnn.data.remote`.

        Returns:
            The files, and the files of the copy that may be out of date.
        """
        with self.errors():
            if self.scheme in WEB:
                return [self._web_file()], ()
            if self.is_pattern:
                infos = list(self.filesystem.glob(self.path, detail=True).values())
                more = self._label_maps() if infos else []
                return _entries([*infos, *more]), map(Path, glob.glob(str(self.copy), recursive=True))
            try:
                info = self.filesystem.info(self.path)
            except FileNotFoundError:  # perhaps the name of a set of shards
                infos = list(self.filesystem.glob(f"{self.path}-?????-of-?????", detail=True).values())
                copies = glob.glob(f"{glob.escape(str(self.copy))}-?????-of-?????")
                return _entries([*infos, *(self._label_maps() if infos else [])]), map(Path, copies)
            folder = self.path if info["type"] == "directory" else self.path.rpartition("/")[0]
            if info["type"] == "directory" or self.path.lower().endswith(_WHOLE_FOLDER):
                infos = list(self.filesystem.find(folder, detail=True).values())
                return _entries(infos), (place / name for place, names in walk(self.local(folder)) for name in names)
            more = (
                []
                if self.path.lower().endswith((".json", *itertools.chain(*EXTENSIONS.values())))
                else self._label_maps()
            )
            return _entries([info, *more]), ()

    def entry(self) -> Entry | None:
        """Return the file at the address; None if there is a folder.

        Raises:
            InputError: there is nothing, or as `errors`.
        """
        with self.errors():
            info = self.filesystem.info(self.path)
        return None if info["type"] == "directory" else _entry({**info, "name": self.path})

    def find(self) -> dict[str, Entry]:
        """Return the files in this folder and below it, by their paths in the folder; {} if there is no such folder."""
        with self.errors():
            self.filesystem.invalidate_cache()
            infos = self.filesystem.find(self.path, detail=True).values()
        return {entry.path[len(self.path) :].lstrip("/"): entry for entry in _entries(infos)}

    def version(self, path: str) -> str | None:
        """Return the version of a file, as `find` does; some file systems have another one in `info`."""
        with self.errors():
            self.filesystem.invalidate_cache()
            (entry,) = _entries(self.filesystem.ls(path, detail=True))
        return entry.version

    def children(self) -> dict[str, str]:
        """Return what is in this folder: names, and "file" or "directory" for each; {} if there is no such folder."""
        with self.errors():
            try:
                infos = self.filesystem.ls(self.path, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return {}
        return {info["name"].rstrip("/").rpartition("/")[2]: info["type"] for info in infos}

    def file(self, name: str) -> Entry | None:
        """Return a file of this folder; None if there is none.

        A web server is asked until it has one: a folder without the first files counts as empty.
        """
        with self.errors():
            if self.scheme in WEB:
                entry = Entry(f"{self.path.rstrip('/')}/{name}", None, None)
                if not self._files and self._misses < _MAX_MISSES:
                    self._misses += 1
                    self._files = {"": entry} if self._exists(entry.path) else {}
                return entry if self._files else None
            if self._files is None:
                try:
                    entries = _entries(self.filesystem.ls(self.path, detail=True))
                except (FileNotFoundError, NotADirectoryError):
                    entries = []
                self._files = {entry.path.rpartition("/")[2]: entry for entry in entries}
            return self._files.get(name)

    @contextmanager
    def errors(self, action: str = "read") -> Iterator[None]:
        """Turn the errors of fsspec and its file systems into errors that a user can fix.

        Args:
            action: what is done with the address: "read" or "written".

        Raises:
            InputError: a package is missing, there is nothing at the address, access is refused, or the connection
                fails.
        """
        try:
            yield
        except InputError:
            raise
        except ImportError as error:
            package = _OTHER_PACKAGES.get(self.scheme)
            install = f"pip install {package}" if package else 'pip install "tfrcnn[remote]"'
            missing = package or _PACKAGES.get(self.scheme, "fsspec")
            raise InputError(f"{self.address}: needs {missing}, which is not installed: {install}") from error
        except FileNotFoundError as error:
            if self.scheme in WEB and (reason := _web_failure(error)):
                raise InputError(f"{without_login(str(error))}: cannot be read: {reason}") from error
            raise InputError(f"{self.address}: expected a file or a folder, found nothing") from error
        except Exception as error:  # each file system raises exceptions of its kind
            reason = reason_of(error)
            is_refused = isinstance(error, PermissionError) or any(word in reason.lower() for word in _REFUSALS)
            advice = _CREDENTIALS.get(self.scheme, "check the access rights") if is_refused else ""
            raise InputError(f"{self.address}: cannot be {action}: {reason}{advice and f'; {advice}'}") from error

    def _exists(self, path: str) -> bool:
        """Return whether a file exists. A web server that refuses to say is an error."""
        if self.scheme not in WEB:
            return bool(self.filesystem.exists(path))
        try:
            self.filesystem.info(path)
        except FileNotFoundError as error:
            if _web_failure(error):
                raise
            return False
        return True

    def _web_file(self) -> Entry:
        """Return the file at a web address."""
        suffix = os.path.splitext(urlsplit(self.path).path)[1].lower()
        if not suffix or suffix in _WHOLE_FOLDER:
            raise InputError(
                f"{self.address}: expected a .json file (COCO) or a TFRecord, because a web server does not list its "
                "files; download the folder first"
            )
        return _entry({**self.filesystem.info(self.path), "name": self.path})

    def _label_maps(self) -> list[dict[str, Any]]:
        """Return the label maps next to TFRecords."""
        folder = self.path.rpartition("/")[0]
        if glob.has_magic(folder):
            return []
        return [info for info in self.filesystem.ls(folder, detail=True) if info["name"].endswith(".pbtxt")]


def _entries(infos: Iterable[dict[str, Any]]) -> list[Entry]:
    """Return the files of a listing, each once."""
    files = [info for info in infos if info["type"] == "file" and not info["name"].endswith("/")]
    return list({info["name"]: _entry(info) for info in files}.values())


def _entry(info: dict[str, Any]) -> Entry:
    version = next((str(info[key]) for key in _VERSIONS if info.get(key)), None)
    return Entry(info["name"], info.get("size"), version)


def _web_failure(error: FileNotFoundError) -> str:
    """Return why fsspec cannot read a web address, "" if there is nothing: it raises one error for all reasons."""
    cause = error.__cause__
    status = getattr(cause, "status", None)
    if cause is None or status in (404, 410):
        return ""
    if status is None:
        return reason_of(cause)
    return f"the server answers {status} {getattr(cause, 'message', '')}".rstrip()
