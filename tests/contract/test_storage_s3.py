"""The S3 path on a moto server with the real `S3Bucket` block: verbs, landing, Spark, COPY from an s3:// stage."""

import asyncio
import gzip
import json
import logging
import socket
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
from moto.server import ThreadedMotoServer
from prefect_aws import AwsCredentials, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters
from prefect_databricks import DatabricksCredentials

from blocks.databricks import DatabricksCluster
from blocks.errors import MayHeal, WillNotHeal
from blocks.feeds import job_spec, load_contract, load_feed
from blocks.storage import delete, download, exists, list_files, look, upload, uri
from tasks.databricks import batch_id_of, read_metrics, run_to_the_end, stage_job, submission_for
from tasks.landing import land
from tasks.warehouse import LoadResult, load_batch

HEADER = (
    "order_id,line_number,product_id,product_name,product_category,customer_id,customer_segment,country,"
    "quantity,unit_price,currency,ordered_at,updated_at\n"
)
LINE = "A1,{},P1,Lamp,Home,C1,consumer,Spain,{},9.99,EUR,2025-01-31T08:15:00Z,2025-01-31T08:15:00Z\n"
TOKEN = "dapi-for-tests"
MANY = 1_100


@pytest.fixture(scope="module")
def endpoint():
    """A moto server; services started meanwhile find it as they would find AWS, in their environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment["AWS_ENDPOINT_URL"]
    server.stop()


@pytest.fixture(scope="module")
def credentials(endpoint):
    return AwsCredentials(
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        aws_client_parameters=AwsClientParameters(endpoint_url=endpoint),
    )


@pytest.fixture(scope="module")
def bucket(credentials):
    """Make buckets, each with a folder of its own below which the block works."""

    def make(name, folder="data"):
        credentials.get_s3_client().create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        return S3Bucket(bucket_name=name, bucket_folder=folder, credentials=credentials)

    return make


@pytest.fixture(scope="module")
def warehouse(endpoint, serve_warehouse):
    return serve_warehouse("s3://processed/data/")


@pytest.fixture
def put(tmp_path):
    def put(storage, path, content):
        local = tmp_path / "put"
        local.write_bytes(content if isinstance(content, bytes) else content.encode())
        upload(storage, local, path)

    return put


def paths(storage, prefix=""):
    return [file.path for file in list_files(storage, prefix)]


def test_verbs_work_below_the_blocks_folder(bucket, put, tmp_path, credentials):
    storage = bucket("verbs", "some/folder")
    put(storage, "a/x y.csv", "hello")
    assert uri(storage, "a/x y.csv") == "s3://verbs/some/folder/a/x y.csv"
    assert uri(storage) == "s3://verbs/some/folder"
    found = look(storage, "a/x y.csv")
    assert (found.path, found.size) == ("a/x y.csv", 5)
    assert list(list_files(storage, "a")) == list(list_files(storage, "")) == [found]
    assert download(storage, "a/x y.csv", tmp_path / "back").read_text() == "hello"
    put(storage, "a/x y.csv", "HELLO")
    assert look(storage, "a/x y.csv") != found
    delete(storage, "a/x y.csv")
    delete(storage, "a/x y.csv")
    assert look(storage, "a/x y.csv") is None
    assert credentials.get_s3_client().list_objects_v2(Bucket="verbs")["KeyCount"] == 0


def test_a_folder_is_listed_whole_in_order_and_without_its_neighbours(bucket, credentials):
    storage, client = bucket("listed"), credentials.get_s3_client()
    names = [f"store/{number:05d}.csv" for number in range(MANY)]
    others = ["store", "store/", "store/_manifests/m.json", "store/.partial", "store_2/a.csv", "a.csv"]
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda n: client.put_object(Bucket="listed", Key=f"data/{n}", Body=b"x"), names + others)
        )
    client.put_object(Bucket="listed", Key="database/store/a.csv", Body=b"x")
    assert paths(storage, "store") == names
    assert paths(storage, "store/") == names
    assert next(list_files(storage, "store")).path == names[0]
    assert paths(storage, "none") == []


def test_looking_at_one_object_lists_none(bucket, put):
    storage, calls = bucket("looked"), Counter()
    put(storage, "store/a.csv", "a")
    events = storage.credentials.get_s3_client().meta.events
    count = lambda model, **_: calls.update([model.name])  # noqa: E731
    events.register("before-call.s3", count)
    try:
        assert exists(storage, "store/a.csv")
        assert not exists(storage, "store/a")
        assert not exists(storage, "store")
    finally:
        events.unregister("before-call.s3", count)
    assert calls == {"HeadObject": 3}


def test_a_bucket_that_is_not_there_is_said_and_one_out_of_reach_may_heal(credentials, put):
    with pytest.raises(WillNotHeal, match=r"s3://nowhere/data: .*bucket does not exist"):
        put(S3Bucket(bucket_name="nowhere", bucket_folder="data", credentials=credentials), "a", "a")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        parameters = AwsClientParameters(endpoint_url=url, config={"retries": {"total_max_attempts": 1}})
        away = credentials.model_copy(update={"aws_client_parameters": parameters})
        with pytest.raises(MayHeal, match="cannot be reached"):
            exists(S3Bucket(bucket_name="b", credentials=away), "a")


@pytest.fixture
def put_archive(put, tmp_path):
    def put_archive(storage, path, members):
        with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        put(storage, path, (tmp_path / "archive").read_bytes())

    return put_archive


@pytest.fixture(scope="module")
def stores(bucket):
    return bucket("drop"), bucket("raw"), bucket("processed")


@pytest.fixture
def feed():
    return load_feed("store_sales")


def test_landing_moves_files_by_content(stores, warehouse, feed, put):
    drop, raw, _ = stores
    day = HEADER + LINE.format(1, 2) + LINE.format(2, 0) + LINE.format(3, 1)
    put(drop, "store_sales/day.csv", day)
    put(drop, "store_sales/same.csv", day)
    put(drop, "store_sales/bad.csv", "a,b\n")
    put(drop, "store_sales/notes.txt", "not a file of this feed")
    landing = land(drop, raw, warehouse, feed, settle_seconds=0.1)
    assert [(file.name, file.size) for file in landing.pending] == [("day.csv", len(day))]
    assert [file.name for file in landing.refused] == ["bad.csv"]
    assert landing.waiting == []
    assert paths(raw) == [landing.pending[0].path]
    assert set(paths(drop)) == {
        "refused/store_sales/bad.csv",
        "refused/store_sales/bad.csv.reason.txt",
        "store_sales/notes.txt",
    }
    put(drop, "store_sales/again.csv", day)
    again = land(drop, raw, warehouse, feed, settle_seconds=0)
    assert again.pending == landing.pending
    assert len(paths(raw)) == 1


def test_a_manifest_is_left_for_each_landing(stores, tmp_path):
    _, raw, _ = stores
    listed = raw.credentials.get_s3_client().list_objects_v2(
        Bucket="raw", Prefix="data/store_sales/_manifests/"
    )
    keys = [item["Key"].removeprefix("data/") for item in listed["Contents"]]
    manifests = [json.loads(download(raw, key, tmp_path / "m").read_text()) for key in keys]
    landed = [sorted(file["name"] for file in manifest["files"]) for manifest in manifests]
    assert sorted(landed) == [["again.csv"], ["day.csv", "same.csv"]]
    assert [file["name"] for manifest in manifests for file in manifest["refused"]] == ["bad.csv"]


def test_a_refused_file_is_taken_once_its_feed_is_mended(stores, warehouse, feed, put):
    drop, raw, _ = stores
    text = HEADER.replace("quantity", "qty") + LINE.format(9, 1)
    put(drop, "store_sales/renamed.csv", text)
    assert len(land(drop, raw, warehouse, feed, 0).refused) == 1
    mended = feed.model_copy(update={"columns": feed.columns | {"quantity": "qty"}})
    put(drop, "store_sales/renamed.csv", text)
    assert [file.name for file in land(drop, raw, warehouse, mended, 0).pending] == ["day.csv", "renamed.csv"]
    rows = warehouse.rows("select path, refusal from MONITORING.LANDED_FILES where file_name = 'renamed.csv'")
    assert [row["refusal"] for row in rows] == [None]
    assert exists(raw, rows[0]["path"])


def test_a_batch_goes_from_bucket_to_bucket_to_the_warehouse(
    stores, warehouse, feed, start_service, tmp_path, endpoint
):
    _, raw, processed = stores
    (file,) = [f for f in land(*stores[:2], warehouse, feed, 0).pending if f.name == "day.csv"]
    batch_id = batch_id_of(feed.name, [file])
    output = uri(processed, f"sales_batch/{batch_id}")
    inputs = [{"uri": uri(raw, file.path), **asdict(file)}]
    code, order = stage_job(processed, batch_id, job_spec(feed, load_contract(), batch_id, inputs, output))
    assert code.startswith("s3://processed/data/jobs/")
    (tmp_path / "token").write_text(TOKEN)
    service = start_service("databricks", "--token-file", str(tmp_path / "token"))
    databricks = DatabricksCredentials(
        databricks_instance=f"127.0.0.1:{service.facts['port']}",
        token=TOKEN,
        client_kwargs={"verify": service.facts["ca"]},
    )
    cluster = DatabricksCluster(poll_seconds=0.5, timeout_seconds=120)
    order = submission_for(batch_id, code, order, cluster, batch_bytes=1)
    asyncio.run(run_to_the_end(databricks, cluster, order, logging.getLogger("test")))
    metrics = read_metrics(processed, batch_id)
    assert metrics["totals"]["rows_read"] == 3
    assert not list((service.home / "runs").glob("*/s3"))
    assert load_batch(warehouse, feed.name, metrics) == LoadResult(2, 1)
    rows = warehouse.rows(
        "select line_number, file_name, file_line from RAW.SALES_BATCH_RAW order by line_number"
    )
    assert [tuple(row.values()) for row in rows] == [(1, "day.csv", 2), (3, "day.csv", 4)]
    rejected = warehouse.rows("select rule_ids, file_line from RAW.SALES_QUARANTINE")
    assert [tuple(row.values()) for row in rejected] == [("quantity_not_zero", 3)]
    assert land(*stores[:2], warehouse, feed, 0).pending[0].name == "renamed.csv"


def ledger(warehouse, feed):
    rows = warehouse.rows(
        "select file_name, path is not null as landed, left(refusal, 17) as refusal from MONITORING.LANDED_FILES "
        "where feed = %s order by file_name",
        (feed.name,),
    )
    return [tuple(row.values()) for row in rows]


def test_an_archive_lands_by_member_whatever_interrupts_it(stores, warehouse, feed, put_archive, monkeypatch):
    drop, raw, _ = stores
    feed = feed.model_copy(update={"name": "archives"})
    members = {"one.csv": HEADER, "x/two.csv": HEADER + LINE.format(1, 2), "bad.csv": "a,b\n"}
    expected = [
        ("day.csv.zip/bad.csv", False, "lacks the columns"),
        ("day.csv.zip/one.csv", True, None),
        ("day.csv.zip/x/two.csv", True, None),
    ]

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    put_archive(drop, "archives/day.csv.zip", members)
    for step, known in (("write_manifest", []), ("record_landing", []), ("delete", expected)):
        with monkeypatch.context() as patch:
            patch.setattr(f"tasks.landing.{step}", kill)
            with pytest.raises(Killed):
                land(drop, raw, warehouse, feed, 0)
        assert exists(drop, "archives/day.csv.zip")
        assert ledger(warehouse, feed) == known
    first = land(drop, raw, warehouse, feed, 0)
    assert [file.name for file in first.pending] == ["day.csv.zip/one.csv", "day.csv.zip/x/two.csv"]
    assert [file.name for file in first.refused] == ["day.csv.zip/bad.csv"]
    assert ledger(warehouse, feed) == expected
    assert set(paths(raw, "archives")) == {file.path for file in first.pending}
    assert paths(drop, "archives") == []
    put_archive(drop, "archives/again.csv.zip", members)
    again = land(drop, raw, warehouse, feed, 0)
    assert (again.pending, [file.name for file in again.refused]) == (
        first.pending,
        ["again.csv.zip/bad.csv"],
    )
    assert len(paths(raw, "archives")) == 2
    assert {p for p in paths(drop) if p.startswith("refused/archives/")} == {
        f"refused/archives/{name}.csv.zip{end}" for name in ("day", "again") for end in ("", ".reason.txt")
    }


def test_content_that_is_readable_under_one_of_its_names_is_landed(stores, warehouse, feed, put_archive):
    """A .gz that is not called so is refused; that must not hide the same bytes under their right name."""
    drop, raw, _ = stores
    feed = feed.model_copy(update={"name": "misnamed"})
    packed = gzip.compress(HEADER.encode())
    put_archive(drop, "misnamed/a.csv.zip", {"a.csv": packed, "b.csv.gz": packed, "c.csv": packed})
    landing = land(drop, raw, warehouse, feed, 0)
    assert [file.name for file in landing.pending] == ["a.csv.zip/b.csv.gz"]
    assert [file.name for file in landing.refused] == ["a.csv.zip/a.csv", "a.csv.zip/c.csv"]
    assert ledger(warehouse, feed) == [("a.csv.zip/b.csv.gz", True, None)]
