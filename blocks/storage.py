"""Storage blocks: `S3Bucket` in the cloud, `LocalFileSystem` on a laptop, reached by the same few verbs."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from stat import S_ISREG
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError, HTTPClientError  # type: ignore[import-untyped]
from botocore.exceptions import ConnectionError as Unreachable
from prefect.blocks.core import Block
from prefect.filesystems import LocalFileSystem
from prefect_aws import AwsCredentials, S3Bucket

from blocks.errors import HEALING_STATUSES, MayHeal, WillNotHeal
from blocks.paths import is_hidden

Storage = S3Bucket | LocalFileSystem
STORAGE_TYPES: tuple[type[Block], ...] = (S3Bucket, LocalFileSystem)


@dataclass(frozen=True)
class StoredFile:
    """A file in a storage: its path below the storage's root, its size in bytes, and its version.

    The version is another whenever the file was written again: the time of change, on S3 with the ETag.
    """

    path: str
    size: int
    version: str


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
    return f"s3://{storage.bucket_name}/{_key(storage, path)}".rstrip("/")


@singledispatch
def list_files(storage: Storage, prefix: str) -> Iterator[StoredFile]:
    """List every file below a folder of the storage, in order of path.

    What is hidden is left out: files and folders whose name starts with a dot or an underscore.
    """
    raise NotImplementedError(type(storage))


@list_files.register
def _(storage: LocalFileSystem, prefix: str) -> Iterator[StoredFile]:
    root = _folder(storage)
    for path in sorted((root / prefix).rglob("*"), key=Path.as_posix):
        shown = not is_hidden(path.relative_to(root / prefix))
        if shown and path.is_file() and (file := look(storage, path.relative_to(root).as_posix())):
            yield file


@list_files.register
def _(storage: S3Bucket, prefix: str) -> Iterator[StoredFile]:
    folder, root = _key(storage, prefix), _key(storage, "")
    # With the slash, or `store` would list `store_sales` too; S3 gives keys in order, a page at a time.
    where = {"Bucket": storage.bucket_name, "Prefix": f"{folder}/" if folder else ""}
    with _client(storage) as client:
        for page in client.get_paginator("list_objects_v2").paginate(**where):
            for item in page.get("Contents", []):
                below = item["Key"].removeprefix(where["Prefix"])
                if below and not below.endswith("/") and not is_hidden(Path(below)):
                    path = item["Key"].removeprefix(f"{root}/" if root else "")
                    yield StoredFile(path, item["Size"], _version(item))


@singledispatch
def look(storage: Storage, path: str) -> StoredFile | None:
    """Say what is at this path now; None if there is no file."""
    raise NotImplementedError(type(storage))


@look.register
def _(storage: LocalFileSystem, path: str) -> StoredFile | None:
    try:
        facts = (_folder(storage) / path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return StoredFile(path, facts.st_size, str(facts.st_mtime_ns)) if S_ISREG(facts.st_mode) else None


@look.register
def _(storage: S3Bucket, path: str) -> StoredFile | None:
    with _client(storage) as client:
        try:
            facts = client.head_object(Bucket=storage.bucket_name, Key=_key(storage, path))
        except ClientError as error:
            if error.response["Error"]["Code"] in {"404", "NoSuchKey"}:
                return None
            raise
    return StoredFile(path, facts["ContentLength"], _version(facts))


def exists(storage: Storage, path: str) -> bool:
    """Say whether there is a file at this path."""
    return look(storage, path) is not None


@singledispatch
def download(storage: Storage, path: str, target: Path) -> Path:
    """Copy a file of the storage to the local path `target`, in pieces."""
    raise NotImplementedError(type(storage))


@download.register
def _(storage: LocalFileSystem, path: str, target: Path) -> Path:
    return Path(shutil.copyfile(_folder(storage) / path, target))


@download.register
def _(storage: S3Bucket, path: str, target: Path) -> Path:
    with _client(storage) as client:
        client.download_file(storage.bucket_name, _key(storage, path), str(target))
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
    with _client(storage) as client, source.open("rb") as file:
        client.upload_fileobj(file, storage.bucket_name, _key(storage, path))


@singledispatch
def delete(storage: Storage, path: str) -> None:
    """Remove a file; one that is not there is no error."""
    raise NotImplementedError(type(storage))


@delete.register
def _(storage: LocalFileSystem, path: str) -> None:
    (_folder(storage) / path).unlink(missing_ok=True)


@delete.register
def _(storage: S3Bucket, path: str) -> None:
    with _client(storage) as client:
        client.delete_object(Bucket=storage.bucket_name, Key=_key(storage, path))


def _folder(storage: LocalFileSystem) -> Path:
    return Path(storage.basepath or ".").expanduser().resolve()


def _key(storage: S3Bucket, path: str) -> str:
    return "/".join(part for part in (storage.bucket_folder.strip("/"), path.strip("/")) if part)


def _version(facts: dict[str, Any]) -> str:
    return f"{facts['LastModified'].isoformat()} {facts['ETag']}"


@contextmanager
def _client(storage: S3Bucket) -> Iterator[Any]:
    """Give the block's own client: the block's methods list whole prefixes and log a line for each object.

    boto3 has tried again already what it gives up on. Raises MayHeal for an S3 that is busy or out of reach,
    WillNotHeal for what it refuses.
    """
    try:
        yield storage.credentials.get_s3_client()
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in HEALING_STATUSES:
            raise MayHeal(f"S3 is busy: {error}") from error
        raise WillNotHeal(f"{uri(storage)}: {error}. Check the bucket and what the role may do.") from error
    except (Unreachable, HTTPClientError) as error:
        raise MayHeal(f"{uri(storage)} cannot be reached: {error}") from error
