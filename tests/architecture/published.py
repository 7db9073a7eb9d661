"""What the published marts promise their readers, and whether the models still keep it.

dbt/contracts/published.json is the promise as of the last release: model → version → columns and types.
    python tests/architecture/published.py record          at a release: add what is new; refuses what breaks
    python tests/architecture/published.py compare FILE    against another release's file ('-' is standard input)
"""

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
MARTS = PROJECT / "dbt/models/marts"
RELEASED = PROJECT / "dbt/contracts/published.json"
Contracts = dict[str, dict[str, dict[str, Any]]]


def columns_of(version: dict[str, Any], model: dict[str, Any]) -> dict[str, str]:
    """Name and type of a version's columns: the model's own, less the excluded ones, then the version's."""
    stated = version.get("columns", [{"include": "all"}])
    types = {column["name"]: column["data_type"] for column in model.get("columns", [])}
    found: dict[str, str] = {}
    for column in stated:
        if "include" in column:
            included = types if column["include"] in ("all", "*") else column["include"]
            found |= {name: types[name] for name in included if name not in column.get("exclude", [])}
        else:
            found[column["name"]] = column.get("data_type") or types[column["name"]]
    return {name.lower(): "".join(kind.lower().split()) for name, kind in found.items()}


def contracts(folder: Path = MARTS) -> Contracts:
    """What the models promise now; a model without versions is its version 1."""
    found: Contracts = {}
    for file in sorted(folder.rglob("*.yml")):
        for model in yaml.safe_load(file.read_text()).get("models", []):
            versions = model.get("versions", [{"v": 1, "deprecation_date": model.get("deprecation_date")}])
            found[model["name"]] = {str(version["v"]): _contract(version, model) for version in versions}
    return found


def _contract(version: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    ends = version.get("deprecation_date")
    return {"columns": columns_of(version, model)} | ({"deprecation_date": str(ends)} if ends else {})


def breaks(released: Contracts, now: Contracts, today: date) -> list[str]:
    """Every promise that is no longer kept, each as a sentence that says what to do."""
    return [
        sentence
        for model, versions in released.items()
        for version, contract in versions.items()
        if not _over(contract, today)
        for sentence in _broken(model, version, contract, now.get(model, {}).get(version))
    ]


def _over(contract: dict[str, Any], today: date) -> bool:
    ends = contract.get("deprecation_date")
    return bool(ends) and date.fromisoformat(str(ends)[:10]) < today


def _broken(model: str, version: str, was: dict[str, Any], now: dict[str, Any] | None) -> list[str]:
    name = f"{model}, version {version},"
    if now is None:
        return [
            f"{name} is published and gone: keep it, release a deprecation_date for it, and remove it after that day."
        ]
    columns = now["columns"]
    wrong = [(c, kind, columns.get(c)) for c, kind in was["columns"].items() if columns.get(c) != kind]
    what_to_do = (
        f"keep it so and make the change in version {int(version) + 1} (dbt: versions, latest_version)."
    )
    return [
        f"{name} {'lost' if kind is None else 'retyped'} the column {column} ({was_kind} before, "
        f"{kind or 'missing'} now): {what_to_do}"
        for column, was_kind, kind in wrong
    ]


def main(arguments: list[str]) -> int:
    """Record or compare; 1 where a promise is broken, 2 where the arguments are not understood."""
    if arguments != ["record"] and not (len(arguments) == 2 and arguments[0] == "compare"):
        print(__doc__)
        return 2
    file = "-" if arguments == ["compare", "-"] else arguments[1] if len(arguments) == 2 else str(RELEASED)
    text = sys.stdin.read() if file == "-" else Path(file).read_text() if Path(file).exists() else "{}"
    broken = breaks(json.loads(text or "{}"), contracts(), date.today())
    print("\n".join(broken) or "Every published mart keeps its promise.")
    if arguments == ["record"] and not broken:
        RELEASED.parent.mkdir(exist_ok=True)
        RELEASED.write_text(json.dumps(contracts(), indent=1, sort_keys=True) + "\n")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
