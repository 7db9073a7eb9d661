"""The real data, whole: every line accounted for, and totals that an independent computation confirms."""

import shutil
from decimal import Decimal

import pandas as pd
import pytest

from tests.embedded.marts_oracle import Line, assert_published, returns


@pytest.fixture(scope="module")
def independent(real_data):
    """The feed's declared rules applied by pandas, straight from the file."""
    lines = pd.read_csv(real_data, dtype=str, keep_default_na=False)
    price = lines["UnitPrice"].map(Decimal)
    quantity = lines["Quantity"].map(int)
    good = (price > 0) & (quantity != 0)
    valid = lines[good]
    kept = valid.drop_duplicates()
    sold = (
        pd.to_datetime(kept["InvoiceDate"], format="%m/%d/%Y %H:%M")
        .dt.tz_localize("Europe/London")
        .dt.tz_convert("UTC")
    )
    amount = kept["UnitPrice"].map(Decimal) * kept["Quantity"].map(int)
    fields = zip(
        kept["InvoiceNo"],
        kept.index,  # the file numbers no lines
        kept["StockCode"],
        kept["CustomerID"].replace("", None),
        kept["Country"],
        kept["Quantity"].map(int),
        kept["UnitPrice"].map(Decimal),
        ["GBP"] * len(kept),
        sold.dt.tz_localize(None).dt.to_pydatetime(),
        strict=True,
    )
    return {
        "sold": [Line(*values) for values in fields],
        "counts": {
            "rows_read": len(lines),
            "rows_valid": len(kept),
            "rows_quarantined": int((~good).sum()),
            "rows_duplicate": len(valid) - len(kept),
        },
        "totals": amount.groupby([sold.dt.strftime("%Y-%m"), kept["Country"]]).sum().to_dict(),
        "lines": len(kept),
    }


@pytest.fixture(scope="module")
def summary(pipeline, real_data):
    shutil.copy(real_data, pipeline.drop("online_retail"))
    return pipeline.run("online_retail")


def test_all_541909_lines_are_accounted_for(summary, independent):
    batch = summary["batch"]
    assert batch["rows_read"] == 541_909
    assert {key: batch[key] for key in independent["counts"]} == independent["counts"]
    assert batch["rows_read"] == batch["rows_valid"] + batch["rows_quarantined"] + batch["rows_duplicate"]


def test_facts_equal_the_independent_totals_to_the_cent(pipeline, summary, independent):
    rows = pipeline.warehouse.rows(
        "select to_char(ordered_at, 'YYYY-MM') as month, country, sum(amount) as amount, count(*) as n "
        "from MARTS.FCT_SALES where source = 'online_retail' group by 1, 2"
    )
    assert {(row["month"], row["country"]): row["amount"] for row in rows} == independent["totals"]
    assert sum(row["n"] for row in rows) == independent["lines"]


def test_missing_customers_are_the_unknown_member_not_dropped(pipeline, summary, real_data):
    lines = pd.read_csv(real_data, dtype=str, keep_default_na=False).drop_duplicates()
    lines = lines[lines["UnitPrice"].map(Decimal) > 0]
    rows = pipeline.warehouse.rows(
        "select count(*) as n from MARTS.FCT_SALES as sales inner join MARTS.DIM_CUSTOMER as customers "
        "on sales.customer_key = customers.customer_key "
        "where sales.source = 'online_retail' and customers.source = 'unknown'"
    )
    assert rows[0]["n"] == (lines["CustomerID"] == "").sum() > 0


@pytest.mark.parametrize("mart", ["daily", "orders", "customers", "products"])
def test_mart_is_what_the_file_adds_up_to(pipeline, summary, independent, mart):
    assert_published(pipeline.warehouse, mart, "online_retail", independent["sold"])


def test_c_invoices_are_returns_whose_original_is_not_known(pipeline, summary, independent):
    expected = returns(independent["sold"]).values()
    assert all(order.startswith("C") for order in {o.order_id for o in independent["sold"] if o.quantity < 0})
    rows = pipeline.warehouse.rows(
        "select count(*) as n, count_if(has_original) as matched, sum(units_returned) as units, "
        "sum(returns_amount_eur) as eur from MARTS.MART_RETURNS where source = 'online_retail'"
    )
    assert rows == [
        {
            "n": len(expected),
            "matched": sum(row["has_original"] for row in expected),
            "units": sum(row["units_returned"] for row in expected),
            "eur": sum(row["returns_amount_eur"] for row in expected),
        }
    ]
    assert rows[0]["matched"] == 0 < rows[0]["n"]


def test_locations_are_the_countries_of_the_file(pipeline, summary, independent):
    countries = {line.country for line in independent["sold"]}
    rows = pipeline.warehouse.rows("select country, country_code, region from MARTS.DIM_LOCATION")
    told = {row["country"]: (row["country_code"], row["region"]) for row in rows}
    assert countries | {"Unknown"} <= set(told)
    assert told["EIRE"] == ("IE", "Northern Europe")
    assert told["Unspecified"] == told["Unknown"] == (None, "Unknown")
