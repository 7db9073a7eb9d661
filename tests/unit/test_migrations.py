import pytest

from blocks.errors import WillNotHeal
from tasks.migrations import Migration, _refuse_edits, read_migrations, statements


def write(folder, *names):
    for name in names:
        (folder / name).write_text("select 1;\n")


def test_files_are_read_in_order(tmp_path):
    write(tmp_path, "002_b.sql", "001_a.sql")
    assert [(m.version, m.name) for m in read_migrations(tmp_path)] == [(1, "001_a.sql"), (2, "002_b.sql")]


@pytest.mark.parametrize(
    "names", [["001_a.sql", "003_c.sql"], ["001_a.sql", "001_b.sql"], ["1_a.sql"], ["001_A.sql"]]
)
def test_gaps_doubles_and_bad_names_are_refused(tmp_path, names):
    write(tmp_path, *names)
    with pytest.raises(WillNotHeal):
        read_migrations(tmp_path)


def test_statements_are_filled_in_and_cut():
    text = "-- a comment; with a semicolon\ncreate schema {{ database }}.A;\n\ninsert into t values (';x');\n-- end\n"
    migration = Migration(1, "001_a.sql", "", text)
    assert [s.splitlines()[-1] for s in statements(migration, {"database": "DB"})] == [
        "create schema DB.A",
        "insert into t values (';x')",
    ]


def test_a_variable_without_value_is_named():
    with pytest.raises(WillNotHeal, match=r"001_a.sql.*database"):
        statements(Migration(1, "001_a.sql", "", "create schema {{ database }}.A"), {})


def test_an_edited_or_lost_migration_is_refused():
    here = [Migration(1, "001_a.sql", "new", "")]
    with pytest.raises(WillNotHeal, match=r"001_a.sql was edited"):
        _refuse_edits(here, {1: ("001_a.sql", "old")})
    with pytest.raises(WillNotHeal, match=r"002_b.sql was applied"):
        _refuse_edits(here, {1: ("001_a.sql", "new"), 2: ("002_b.sql", "x")})
    _refuse_edits(here, {1: ("001_a.sql", "new")})
