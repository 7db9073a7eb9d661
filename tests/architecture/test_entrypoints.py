import sys

import pytest
from prefect.flows import load_flow_from_entrypoint

from blocks.settings import PROJECT

FLOWS = sorted(PROJECT.glob("flows/[a-z]*.py"))


@pytest.mark.parametrize("path", FLOWS, ids=lambda p: p.stem)
def test_every_flow_loads_strictly(path):
    """`prefect deploy` takes a placeholder for a flow whose imports are broken; this does not."""
    flow = load_flow_from_entrypoint(f"{path}:{path.stem}", use_placeholder_flow=False)
    assert flow.name == path.stem.replace("_", "-")
    assert flow.description


@pytest.mark.parametrize("path", FLOWS, ids=lambda p: p.stem)
def test_no_flow_hides_an_installed_package(path):
    """Prefect puts the flow's folder on sys.path, where a file hides a package of the same name."""
    assert path.stem not in sys.stdlib_module_names
    assert not (PROJECT / path.stem).exists()


def test_the_dbt_folder_hides_nothing():
    assert not (PROJECT / "dbt" / "__init__.py").exists()
    assert not list(PROJECT.glob("dbt_*"))
