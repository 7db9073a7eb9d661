"""Storage blocks: `S3Bucket` in the cloud, `LocalFileSystem` on a laptop, reached by the same few verbs."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from prefect.filesystems import LocalFileSystem
from prefect_aws import AwsCredentials, S3Bucket

from blocks.errors import WillNotHeal

Storage = S3Bucket | LocalFileSystem
STORAGE_TYPES: tuple[type[Block], ...] = (S3Bucket, LocalFileSystem)


@dataclass(frozen=True)
class StoredFile:
    """A file in a storage: its path below the storage's root, and its size in bytes."""

    path: str
    size: int


def storage_for(url: str, aws: AwsCredentials) -> Storage:
    """Make the block for `s3://bucket/prefix` or `file:///folder`. Raises WillNotHeal for any other URL."""
    parts = urlsplit(url)
    if parts.scheme == "s3" and parts.netloc:
        return S3Bucket(bucket_name=parts.netloc, bucket_folder=parts.path.strip("/"), credentials=aws)
    if parts.scheme == "file" and not parts.netloc:
        return LocalFileSystem(basepath=parts.path)
    raise WillNotHeal(f"'{url}' is no storage: use s3://bucket/prefix or file:///folder.")


def load_storage(name: str) -> Storage:
    """Load the storage block of that name, whichever kind it is. Raises WillNotHeal if there is none."""
    for kind in STORAGE_TYPES:
        try:
            return kind.load(name)  # type: ignore[return-value]
        except ValueError:
            continue
    raise WillNotHeal(f"There is no storage block '{name}'. Run `sales blocks register`.")


@singledispatch
def uri(storage: Storage, path: str = "") -> str:
    """Give the address by which other systems (Spark, the warehouse) reach a path of this storage."""
    raise NotImplementedError(type(storage))


@uri.register
def _(storage: LocalFileSystem, path: str = "") -> str:
    # Not percent-encoded: Spark and COPY INTO take such an address by the letter.
    return f"file://{_folder(storage) / path}"


@uri.register
def _(storage: S3Bucket, path: str = "") -> str:
    return "/".join(part for part in (f"s3://{storage.bucket_name}", storage.bucket_folder, path) if part)


@singledispatch
def list_files(storage: Storage, prefix: str) -> Iterator[StoredFile]:
    """List every file below a folder of the storage, in order of path; hidden files are left out."""
    raise NotImplementedError(type(storage))


@list_files.register
def _(storage: LocalFileSystem, prefix: str) -> Iterator[StoredFile]:
    root = _folder(storage)
    for path in sorted((root / prefix).rglob("*")):
        if path.is_file() and not path.name.startswith((".", "_")):
            yield StoredFile(path.relative_to(root).as_posix(), path.stat().st_size)


@list_files.register
def _(storage: S3Bucket, prefix: str) -> Iterator[StoredFile]:
    root = f"{storage.bucket_folder}/" if storage.bucket_folder else ""
    for item in sorted(_objects(storage, prefix.rstrip("/") + "/"), key=lambda item: item["Key"]):
        path = item["Key"].removeprefix(root)
        if not Path(path).name.startswith((".", "_")) and not path.endswith("/"):
            yield StoredFile(path, item["Size"])


@singledispatch
def exists(storage: Storage, path: str) -> bool:
    """Say whether there is a file at this path."""
    raise NotImplementedError(type(storage))


@exists.register
def _(storage: LocalFileSystem, path: str) -> bool:
    return (_folder(storage) / path).is_file()


@exists.register
def _(storage: S3Bucket, path: str) -> bool:
    wanted = "/".join(part for part in (storage.bucket_folder, path) if part)
    return any(item["Key"] == wanted for item in _objects(storage, path))


@singledispatch
def download(storage: Storage, path: str, target: Path) -> Path:
    """Copy a file of the storage to the local path `target`, in pieces."""
    raise NotImplementedError(type(storage))


@download.register
def _(storage: LocalFileSystem, path: str, target: Path) -> Path:
    return Path(shutil.copyfile(_folder(storage) / path, target))


@download.register
def _(storage: S3Bucket, path: str, target: Path) -> Path:
    storage.download_object_to_path(path, target)
    return target


@singledispatch
def upload(storage: Storage, source: Path, path: str) -> None:
    """Copy a local file to a path of the storage, in pieces; readers see it whole or not at all."""
    raise NotImplementedError(type(storage))


@upload.register
def _(storage: LocalFileSystem, source: Path, path: str) -> None:
    target = _folder(storage) / path
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(source, partial)
    partial.replace(target)


@upload.register
def _(storage: S3Bucket, source: Path, path: str) -> None:
    storage.upload_from_path(source, path)


@singledispatch
def delete(storage: Storage, path: str) -> None:
    """Remove a file; one that is not there is no error."""
    raise NotImplementedError(type(storage))


@delete.register
def _(storage: LocalFileSystem, path: str) -> None:
    (_folder(storage) / path).unlink(missing_ok=True)


@delete.register
def _(storage: S3Bucket, path: str) -> None:
    key = "/".join(part for part in (storage.bucket_folder, path) if part)
    storage.credentials.get_s3_client().delete_object(Bucket=storage.bucket_name, Key=key)


def _folder(storage: LocalFileSystem) -> Path:
    return Path(storage.basepath or ".").expanduser().resolve()


def _objects(storage: S3Bucket, prefix: str) -> list[dict[str, Any]]:
    found = storage.list_objects(prefix)
    assert isinstance(found, list)
    return found
