"""How results are told: which check, how many rows, where to look; keys of rows and nothing else of them."""

import pytest

from blocks.errors import WillNotHeal
from tasks.validation_results import TOLD_CHECKS, CheckResult, as_table, verdict

KEYS = ({"batch_id": "b1", "file_line": 3}, {"batch_id": "b1", "file_line": 9})
PRICE = CheckResult("SALES", "price", "stop", False, "", 2.0, 2, 1200, KEYS)
VOLUME = CheckResult(
    "SALES", "volume", "stop", False, "lines 900", 900.0, 900, 900, series="shop", subject="2025-03-09"
)
CUSTOMERS = CheckResult("SALES", "customers", "warn", False, "", 40.0, 40, 1200)
FINE = CheckResult("SALES", "fine", "stop", True, "", 0.0, 0, 1200)


def test_a_stop_names_checks_rows_and_where_to_look():
    with pytest.raises(WillNotHeal) as stopped:
        verdict("run-1", "raw", [FINE, PRICE, CUSTOMERS, VOLUME])
    assert str(stopped.value).splitlines() == [
        "2 checks of layer raw failed; the marts stay as they were. Which rows: `sales validations show run-1`, "
        "or the artifact validation-raw.",
        "  SALES.price: 2 of 1,200 rows; for example batch_id b1, file_line 3",
        "  SALES.volume (shop 2025-03-09): 900 of 900 rows; lines 900",
    ]


def test_rows_of_an_unknown_number_are_told_alone():
    orphans = CheckResult("SALES", "members", "stop", False, "", 2.0, 2)
    assert orphans.in_words() == "SALES.members: 2 rows"
    assert as_table([orphans])[0]["rows"] == ""


def test_a_warning_stops_nothing():
    verdict("run-1", "raw", [FINE, CUSTOMERS])


def test_a_long_list_is_cut_to_what_a_message_holds():
    with pytest.raises(WillNotHeal) as stopped:
        verdict("run-1", "marts_candidate", [PRICE] * (TOLD_CHECKS + 3))
    lines = str(stopped.value).splitlines()
    assert len(lines) == TOLD_CHECKS + 2
    assert lines[0].startswith(f"{TOLD_CHECKS + 3} checks")
    assert "validation-marts-candidate" in lines[0]
    assert lines[-1] == "  … and 3 more"


def test_the_table_shows_what_stops_first_with_keys_of_rows():
    rows = as_table([FINE, CUSTOMERS, PRICE])
    assert [(row[""], row["check"]) for row in rows] == [
        ("❌", "SALES.price"),
        ("⚠️", "SALES.customers"),
        ("✅", "SALES.fine"),
    ]
    assert rows[0] | {"": ""} == {
        "": "",
        "check": "SALES.price",
        "of": "",
        "severity": "stop",
        "failing rows": 2,
        "rows": 1200,
        "seen": "",
        "keys": "batch_id b1, file_line 3; batch_id b1, file_line 9",
    }
