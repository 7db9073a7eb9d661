"""The report of a run: one HTML file that needs nothing else, with the accounting and charts of the marts."""

import re
from pathlib import Path
from typing import Any

import pygal
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from pygal.style import CleanStyle

from blocks.warehouse import SalesWarehouse
from tasks.summary import sections

TEMPLATES = Path(__file__).parent / "templates"
TOP = 10

# One row per month and currency: amounts of different currencies are never added up.
NET_BY_MONTH = """
select to_char(sales_date, 'YYYY-MM') as month, currency, sum(net_amount) as net_amount
from MARTS.MART_DAILY_SALES group by 1, 2 order by 1, 2
"""
UNITS_BY_COUNTRY = f"""
select country, sum(unit_count) as units
from MARTS.MART_DAILY_SALES group by 1 order by 2 desc, 1 limit {TOP}
"""  # noqa: S608
UNITS_BY_PRODUCT = f"""
select coalesce(products.product_name, products.product_id) as product, sum(sales.quantity) as units
from MARTS.FCT_SALES as sales
inner join MARTS.DIM_PRODUCT as products on sales.product_key = products.product_key
group by 1 order by 2 desc, 1 limit {TOP}
"""  # noqa: S608


def write_report(warehouse: SalesWarehouse, summary: dict[str, Any], path: Path) -> Path:
    """Write the report of a run to `path`; the charts show what readers of the marts see."""
    charts = [
        ("Net sales by month and currency", net_by_month(warehouse.rows(NET_BY_MONTH))),
        (f"Units sold: the {TOP} largest countries", ranking(warehouse.rows(UNITS_BY_COUNTRY), "country")),
        (f"Units sold: the {TOP} largest products", ranking(warehouse.rows(UNITS_BY_PRODUCT), "product")),
    ]
    page = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True).get_template("report.html")
    path.write_text(page.render(summary=summary, sections=sections(summary), charts=charts))
    return path


def net_by_month(rows: list[dict[str, Any]]) -> Markup:
    """Draw grouped bars: a group per month, a bar per currency."""
    months = sorted({row["month"] for row in rows})
    chart = pygal.Bar(x_labels=months, x_label_rotation=45, **_look())
    for currency in sorted({row["currency"] for row in rows}):
        amounts = {row["month"]: float(row["net_amount"]) for row in rows if row["currency"] == currency}
        chart.add(currency, [amounts.get(month) for month in months])
    return _inline(chart)


def ranking(rows: list[dict[str, Any]], label: str) -> Markup:
    """Draw one horizontal bar per row, the largest on top."""
    rows = rows[::-1]
    chart = pygal.HorizontalBar(x_labels=[row[label] for row in rows], show_legend=False, **_look())
    chart.add("units", [int(row["units"]) for row in rows])
    return _inline(chart)


def _look() -> dict[str, Any]:
    return {"style": CleanStyle, "js": [], "height": 420, "width": 960, "value_formatter": "{:,.0f}".format}


def _inline(chart: Any) -> Markup:
    drawing = chart.render(is_unicode=True, disable_xml_declaration=True)
    # pygal's scripts come from its makers' server, and this file must need nothing.
    return Markup(re.sub(r"<script.*?</script>", "", drawing, flags=re.DOTALL))  # noqa: S704  # nosec B704
