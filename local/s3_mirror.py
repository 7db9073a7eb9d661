"""S3 for a Spark run: what the run names is brought to folders before it, and what it changed back after it.

PySpark comes without Hadoop's S3 client. Hadoop's own ViewFileSystemOverloadScheme lets `s3://bucket/…` mean a
folder (docs of Hadoop's ViewFs overload scheme), so the job's code stays as it is. Where S3 is, and as whom it is
asked, boto3 finds out by itself.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

S3 = "s3://"
VIEWFS = "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme"
LOCAL = "org.apache.hadoop.fs.LocalFileSystem"


class S3Mirror:
    """The objects of one run, in `folder`/<bucket>/<key>; gone at the end of the `with`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fetched: dict[Path, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def fetch(self, named: Any) -> None:
        """Fetch every object that a value names, alone or as a folder, and those that a JSON object names."""
        for uri in _uris(named):
            for path in self._fetch(*uri.removeprefix(S3).rstrip("/").partition("/")[::2]):
                if path.suffix == ".json":
                    self.fetch(json.loads(path.read_text()))

    def settings(self) -> dict[str, str]:
        """Give the Spark settings by which the buckets are their folders; none if no object was named."""
        buckets = sorted(path for path in self._folder.glob("*") if path.is_dir())
        table = "spark.hadoop.fs.viewfs.mounttable"
        links = {f"{table}.{bucket.name}.linkFallback": bucket.as_uri() for bucket in buckets}
        schemes = {
            "spark.hadoop.fs.s3.impl": VIEWFS,
            "spark.hadoop.fs.viewfs.overload.scheme.target.s3.impl": LOCAL,
        }
        return schemes | links if links else {}

    def path(self, uri: str) -> Path:
        """Name the local file of an object."""
        return self._folder / uri.removeprefix(S3)

    def give_back(self) -> None:
        """Delete what the run deleted and put what it wrote, in the order in which it was written."""
        now = {
            path: path.stat().st_mtime_ns
            for path in self._folder.rglob("*")
            if path.is_file() and not path.name.startswith(".")  # checksums of Hadoop's local file system
        }
        written = [path for path, modified in now.items() if self._fetched.get(path) != modified]
        for path in self._fetched.keys() - now.keys():
            _client().delete_object(**self._place(path))
        for path in sorted(written, key=lambda path: now[path]):
            _client().upload_file(str(path), *self._place(path).values())

    def _fetch(self, bucket: str, key: str) -> Iterator[Path]:
        (self._folder / bucket).mkdir(parents=True, exist_ok=True)
        for page in _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
            for name in [item["Key"] for item in page.get("Contents", [])]:
                path = self._folder / bucket / name
                if path in self._fetched or not (name == key or name.startswith(f"{key}/")):
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                _client().download_file(bucket, name, str(path))
                self._fetched[path] = path.stat().st_mtime_ns
                yield path

    def _place(self, path: Path) -> dict[str, str]:
        bucket, *key = path.relative_to(self._folder).parts
        return {"Bucket": bucket, "Key": "/".join(key)}


def _uris(named: Any) -> Iterator[str]:
    """Find the S3 addresses in a value, however deep."""
    if isinstance(named, str) and named.startswith(S3):
        yield named
    for part in named.values() if isinstance(named, dict) else named if isinstance(named, list) else ():
        yield from _uris(part)


def _client() -> Any:
    import boto3  # type: ignore[import-untyped]  # half a second, for runs that need it

    return boto3.client("s3")
