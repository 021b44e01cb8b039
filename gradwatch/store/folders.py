"""Where a log lies: a folder on a local disk, or on any other file system that fsspec knows (s3://, gs://, memory://)."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pathlib
import re
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from gradwatch.store import atomic

StrPath = str | os.PathLike[str]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?:::[A-Za-z0-9+.-]+)*://")


class Folder(Protocol):
    """What the store needs of a folder; names are those of files that lie in it directly."""

    path: str

    def is_there(self) -> bool:
        """Whether it can be listed."""

    def make(self) -> None:
        """Makes it, and those above it, if need be."""

    def names(self) -> list[str]:
        """The names of what lies in it."""

    def check_writable(self) -> None:
        """Writes a file and removes it again."""

    def read(self, name: str) -> bytes:
        """The content of a file."""

    def opened(self, name: str) -> contextlib.AbstractContextManager[Any]:
        """A file for Arrow to read from."""

    def replacing(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """A file to write to, which takes its name only once the block has ended well."""

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""

    def written(self, name: str) -> float:
        """When a file was written, in seconds since 1970; NaN where that is not known."""


class LocalFolder:
    """A folder on a local disk.

    Args:
        path: The folder.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = str(path)
        self._path = path

    def is_there(self) -> bool:
        """Whether it is a directory."""
        return self._path.is_dir()

    def make(self) -> None:
        """Makes it, and those above it, if need be."""
        self._path.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """The names of what lies in it."""
        return [entry.name for entry in self._path.iterdir()]

    def check_writable(self) -> None:
        """Writes a file and removes it again."""
        with tempfile.NamedTemporaryFile(dir=self._path, prefix="."):
            pass

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return (self._path / name).read_bytes()

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[Any]:
        """Where the file is: Arrow opens it best by itself."""
        yield self._path / name

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to, which takes its name only once the block has ended well."""
        with atomic.replacing(self._path / name) as temporary, temporary.open("wb") as file:
            yield file

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        (self._path / name).unlink(missing_ok=True)

    def written(self, name: str) -> float:
        """When a file was written, in seconds since 1970."""
        return (self._path / name).stat().st_mtime


class RemoteFolder:
    """A folder on a file system of fsspec. A file appears there when it was written to its end, as on object stores.

    Args:
        url: Its address, "s3://bucket/run".

    Raises:
        OSError: If fsspec, or what it needs for this address, is not installed.
    """

    def __init__(self, url: str) -> None:
        self.path = url.rstrip("/")
        try:
            fsspec = importlib.import_module("fsspec")
            self._files, self._root = fsspec.core.url_to_fs(self.path)
        except (ImportError, ValueError) as error:
            raise OSError(
                f"The address cannot be opened. Received: {url!r} ({error}). Expected a local path, or an address that "
                "fsspec knows: pip install fsspec, and s3fs for s3://, gcsfs for gs://, adlfs for abfs://."
            ) from error

    def is_there(self) -> bool:
        """Whether anything lies in it."""
        self._files.invalidate_cache()
        return bool(self._files.isdir(self._root))

    def make(self) -> None:
        """Makes it, where folders are more than part of a name."""
        self._files.makedirs(self._root, exist_ok=True)

    def names(self) -> list[str]:
        """The names of what lies in it."""
        self._files.invalidate_cache()
        try:
            found = self._files.ls(self._root, detail=False)
        except FileNotFoundError:  # an object store has no empty folders
            return []
        return [entry.rstrip("/").rpartition("/")[2] for entry in found if entry.rstrip("/") != self._root]

    def check_writable(self) -> None:
        """Writes a file and removes it again."""
        self._files.pipe_file(self._at(".gradwatch"), b"")
        self._files.rm_file(self._at(".gradwatch"))

    def read(self, name: str) -> bytes:
        """The content of a file."""
        return self._files.cat_file(self._at(name))

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[Any]:
        """The file, opened."""
        with self._files.open(self._at(name), "rb") as file:
            yield file

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to, which is sent once the block has ended well."""
        content = io.BytesIO()
        yield content
        self._files.pipe_file(self._at(name), content.getvalue())

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._at(name))

    def written(self, name: str) -> float:
        """When a file was written, in seconds since 1970; NaN where that is not known."""
        try:
            return float(self._files.modified(self._at(name)).timestamp())
        except NotImplementedError:
            return float("nan")

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"


def is_url(path: StrPath) -> bool:
    """Whether a path is an address on another file system.

    >>> is_url("s3://bucket/run"), is_url("runs/a"), is_url("file:///runs/a")
    (True, False, False)
    """
    text = os.fspath(path)
    return bool(_URL.match(text)) and not text.startswith("file://")


def local_path(path: StrPath) -> pathlib.Path:
    """The local path that a path, or an address with file://, stands for."""
    text = os.fspath(path)
    if text.startswith("file://"):
        return pathlib.Path(urllib.request.url2pathname(urllib.parse.urlsplit(text).path))
    return pathlib.Path(text)


def folder(path: StrPath) -> Folder:
    """The folder at a path or an address.

    Raises:
        OSError: If it is an address of a kind that cannot be opened here.
    """
    return RemoteFolder(os.fspath(path)) if is_url(path) else LocalFolder(local_path(path))


def folder_and_name(path: StrPath) -> tuple[Folder, str]:
    """The folder of a file, and the file's name."""
    if is_url(path):
        parent, _, name = os.fspath(path).rpartition("/")
        return RemoteFolder(parent), name
    local = local_path(path)
    return LocalFolder(local.parent), local.name
