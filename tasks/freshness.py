"""Freshness: how old the newest data of each source, and of what readers see, is; read from ledgers, never from RAW."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks import names
from blocks.feeds import feed_names
from blocks.load import load_block
from blocks.warehouse import SalesWarehouse
from tasks.findings import Finding
from tasks.slos import Slos, judge, read_slos

# Ages in seconds. An event's landing is known from the looks at the stream and from its accounting.
AGES = """
select source as component, datediff(second, max(loaded_at), sysdate()) as age
from MONITORING.LOAD_AUDIT where rows_loaded > 0 group by source
union all
select 'marts', datediff(second, max(published_at), sysdate()) from MONITORING.PUBLICATIONS
union all
select 'landing', datediff(second, looked_at, sysdate()) + measured from MONITORING.STREAM_HEALTH
where check_name = 'landing' and measured is not null
qualify row_number() over (order by looked_at desc) = 1
"""


def ages(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """Give the age in seconds of every feed, of the topic and of the marts; None for what never came."""
    known = {row["component"]: max(0.0, float(row["age"])) for row in rows if row["age"] is not None}
    stream = [known[name] for name in (names.TOPIC, "landing") if name in known]
    feeds = {feed: known.get(feed) for feed in feed_names()}
    return feeds | {names.TOPIC: min(stream, default=None), "marts": known.get("marts")}


def judge_age(component: str, age: float | None, slos: Slos) -> Finding:
    """Hold an age against the component's objective; a feed without one of its own has that of all feeds."""
    slo = slos.of(f"fresh {component}", "fresh feeds")
    if age is None:
        return Finding(
            f"fresh {component}", "ok", "Nothing has come yet.", f"under {slo.warn:g} s once it has"
        )
    advice = "Published marts are old." if component == "marts" else "Nothing new has been loaded."
    return judge(f"fresh {component}", age, f"The newest is {age / 3600:.1f} h old.", slo, " s", advice)


@task(name="check freshness", cache_policy=NO_CACHE)
def check_freshness(slos: Slos | None = None) -> list[Finding]:
    """See how old the newest data of each source and the marts are."""
    declared = slos or read_slos()
    rows = load_block(SalesWarehouse, names.WAREHOUSE).rows(AGES)
    return [judge_age(component, age, declared) for component, age in ages(rows).items()]
