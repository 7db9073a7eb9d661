"""A feed of quite another shape than the others is declared, not programmed: europe_marketplace, from file to rows."""

import gzip
from decimal import Decimal
from fnmatch import fnmatch
from typing import Any

from blocks.feeds import job_spec, load_contract, load_feed
from tests.contract.sales_batches import counts

GERMANY, FRANCE, UNKNOWN = (
    f"bestellungen_{rest}" for rest in ("Germany_2025-10.csv", "France_2025-10.csv.gz", "2025-10.csv")
)
LAMP = "H7;1001;LEU-00017;Leuchte „Café“;K1;2;1.234,50;EUR;05.10.2025 14:30;05.10.2025 14:30"
FRIDGE = "H7;1001;KUE-00002;Kühlschrank, groß;;1.200;0,5;CHF;26.10.2025 02:30;2025-10-27 09:00:00"
QUOTED = 'H9;7;KUE-00002;"Kessel; ""weiß""";K2;-1;99.999,9999;EUR;15.01.2025 08:00;2025-07-01 00:15:30'
CORRECTED = LAMP.replace(";2;", ";3;").replace(";05.10.2025 14:30", ";2025-10-06 07:00:00")
REJECTED = {
    LAMP: "duplicate_row",
    LAMP.replace("1.234,50", "1234.50"): "unit_price_invalid",
    LAMP.replace("1.234,50", "12.34,50"): "unit_price_invalid",
    LAMP.replace("1.234,50", "100.000"): "unit_price_in_euros",
    LAMP.replace(
        "05.10.2025 14:30", "01.05.2019 01:59"
    ): "sold_since_the_opening",  # 23:59 UTC the day before
    LAMP.replace("05.10.2025", "5.10.2025"): "ordered_at_invalid,updated_at_invalid",
    LAMP.replace("H7;1001", "H7;"): "order_id_missing",
    LAMP.replace("EUR", "DM").replace(";2;", ";2,0;"): "quantity_invalid,currency_known",
    f"{LAMP};": "malformed_row",
}


def written(*lines: str) -> bytes:
    return "\r\n".join(lines).encode("windows-1252")


def told(row: dict[str, Any], *names: str) -> list[Any]:
    return [row[name] for name in names]


def test_its_spec_says_how_columns_are_made():
    feed = load_feed("europe_marketplace")
    files = [{"uri": f"file:///raw/{name}", "name": name, "checksum": name} for name in (GERMANY, UNKNOWN)]
    spec = job_spec(feed, load_contract(), "b1", files, "file:///out")
    assert [file["from_name"] for file in spec["files"]] == [[None, None, "Germany"], [None, None, None]]
    assert spec["feed"]["key"] == ["Artikelnummer", "Bestellung"]
    assert set(spec["feed"]["file_columns"]) == set(feed.header)
    assert [fnmatch(f"{GERMANY}{packing}", feed.glob) for packing in ("", ".gz", ".zip", ".zip/a.csv")] == [
        True
    ] * 4
    assert not fnmatch("rechnungen_Germany_2025-10.csv", feed.glob)


def test_every_row_is_read_exactly_or_kept_with_the_reason(batch):
    job = batch("europe_marketplace")
    job.add(GERMANY, written(LAMP, *REJECTED, FRIDGE))
    job.add(FRANCE, gzip.compress(written(QUOTED, CORRECTED)))
    job.add(UNKNOWN, written(LAMP.replace("H7", "H8")))
    job.add("bestellungen_Spain_2025-10.csv", written(LAMP.replace("H7", "H6")))
    assert counts(job.run()) == [(11, 2, 9, 0), (2, 2, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0)]
    assert job.rejected() == [
        *((GERMANY, number, rules, line) for number, (line, rules) in enumerate(REJECTED.items(), 2)),
        ("bestellungen_Spain_2025-10.csv", 1, "country_served", LAMP.replace("H7", "H6")),
    ]
    unknown, quoted, corrected, lamp, fridge = job.valid()
    assert told(unknown, "order_id", "country") == ["H8-1001", None]
    assert lamp["ordered_at"].isoformat() == lamp["updated_at"].isoformat() == "2025-10-05T12:30:00"
    expected = ["europe_marketplace", "H7-1001", "LEU-00017", "Leuchte „Café“", "LEU", "K1", "consumer"]
    names = (
        "source",
        "order_id",
        "product_id",
        "product_name",
        "product_category",
        "customer_id",
        "customer_segment",
    )
    assert told(lamp, *names) == expected
    numbers = ("country", "quantity", "unit_price", "currency")
    assert told(lamp, *numbers) == ["Germany", 2, Decimal("1234.5000"), "EUR"]
    assert told(fridge, *numbers) == ["Germany", 1200, Decimal("0.5000"), "CHF"]
    assert told(quoted, *numbers) == ["France", -1, Decimal("99999.9999"), "EUR"]
    assert told(fridge, "product_name", "product_category", "customer_id") == [
        "Kühlschrank, groß",
        "KUE",
        None,
    ]
    assert quoted["product_name"] == 'Kessel; "weiß"'
    # 02:30 came twice that night; the first is meant, in summer time.
    assert [time.isoformat() for time in told(fridge, "ordered_at", "updated_at")] == [
        "2025-10-26T00:30:00",
        "2025-10-27T08:00:00",
    ]
    assert [time.isoformat() for time in told(quoted, "ordered_at", "updated_at")] == [
        "2025-01-15T07:00:00",
        "2025-06-30T22:15:30",
    ]
    # Order and product say which line it is: corrected, it has the same number; of another merchant, another.
    assert corrected["line_number"] == lamp["line_number"]
    assert told(corrected, "quantity", "country") == [3, "France"]
    assert len({row["line_number"] for row in (unknown, quoted, lamp, fridge)}) == 4
