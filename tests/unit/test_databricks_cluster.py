import pytest

from blocks.errors import WillNotHeal
from blocks.register import cluster_from
from blocks.settings import Settings


def cluster(**fields):
    return cluster_from(Settings(environment="prod", databricks_cluster=fields))


def test_defaults_are_spot_with_fallback_bounded_and_tagged():
    given = cluster(policy_id="P1").new_cluster(1)
    assert given["aws_attributes"] == {
        "availability": "SPOT_WITH_FALLBACK",
        "first_on_demand": 1,
        "zone_id": "auto",
    }
    assert given["autoscale"] == {"min_workers": 1, "max_workers": 4}
    assert given["custom_tags"] == {"pipeline": "sales", "environment": "prod"}
    assert given["policy_id"] == "P1"
    assert "driver_node_type_id" not in given


def test_wrong_fields_are_named_with_what_is_allowed():
    with pytest.raises(WillNotHeal, match=r"num_workers unknown; allowed are .*max_workers"):
        cluster(num_workers=3)
    with pytest.raises(WillNotHeal, match="availability"):
        cluster(availability="CHEAP")
    with pytest.raises(WillNotHeal, match=r"max_workers \(1\) is below min_workers \(3\)"):
        cluster(min_workers=3, max_workers=1)


def test_a_large_batch_has_settings_of_its_own():
    block = cluster(
        spark_conf={"spark.a": "1", "spark.b": "1"},
        large_batch_bytes=100,
        large_batch_spark_conf={"spark.b": "2"},
    )
    assert block.new_cluster(100)["spark_conf"] == {"spark.a": "1", "spark.b": "1"}
    assert block.new_cluster(101)["spark_conf"] == {"spark.a": "1", "spark.b": "2"}
