"""prefect.yaml as `sales deploy` reads it: variables filled in, the way to the code chosen, keys checked."""

import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml

from blocks import names
from blocks.errors import WillNotHeal
from blocks.settings import PROJECT, Settings

FILE = PROJECT / "prefect.yaml"
GIT_SECONDS = 60
VARIABLE = re.compile(r"\{\{\s*\$(\w+)\s*\}\}")
# Prefect ignores a key it does not know, so a misspelt one would be left out without a word.
KEYS = {
    *("name", "version", "tags", "work_pool", "entrypoint", "description", "parameters", "schedules"),
    *("concurrency_limit", "triggers", "enforce_parameter_schema", "pull"),
}
KEYS_WITHIN = {
    "work_pool": {"name", "work_queue_name", "job_variables"},
    "concurrency_limit": {"limit", "collision_strategy", "grace_period_seconds"},
    "schedules": {"cron", "timezone", "slug", "active", "parameters", "day_or"},
}

Declared = dict[str, Any]


def read_deployments(values: dict[str, str], pull: str, file: Path = FILE) -> list[Declared]:
    """Give every deployment with its variables filled in and its pull steps, as `prefect deploy` takes it.

    values: the file's variables, by name. pull: which of `definitions.pull` brings the code.
    Raises WillNotHeal for a variable without a value, a key that Prefect would ignore, or one deployment twice.
    """
    content = yaml.safe_load(file.read_text())
    steps = content["definitions"]["pull"][pull]
    every = [fill_in(declared | {"pull": steps}, values) for declared in content["deployments"]]
    for declared in every:
        if faults := misspelt(declared):
            raise WillNotHeal(f"{file.name}, {flow_name(declared)}: {', '.join(faults)} unknown to Prefect.")
        for schedule in declared.get("schedules", []):
            schedule["active"] = str(schedule.get("active", True)).lower() == "true"
    found = [flow_name(declared) for declared in every]
    if twice := sorted({name for name in found if found.count(name) > 1}):
        raise WillNotHeal(f"{file.name} declares {', '.join(twice)} twice.")
    return every


def fill_in(value: Any, values: dict[str, str]) -> Any:
    """Put the values of `{{ $NAME }}` into every text of nested data. Raises WillNotHeal where one is missing."""
    if isinstance(value, dict):
        return {key: fill_in(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill_in(inner, values) for inner in value]
    if not isinstance(value, str):
        return value
    if missing := [name for name in VARIABLE.findall(value) if name not in values]:
        raise WillNotHeal(f"prefect.yaml asks for {', '.join(missing)}, which `sales deploy` does not give.")
    return VARIABLE.sub(lambda match: values[match[1]], value)


def misspelt(declared: Declared) -> list[str]:
    """List the keys of a deployment that Prefect would ignore."""
    faults = sorted(set(declared) - KEYS)
    for key, known in KEYS_WITHIN.items():
        inner = declared.get(key) or []
        for part in inner if isinstance(inner, list) else [inner]:
            faults += [f"{key}.{name}" for name in sorted(set(part) - known)]
    return faults


def flow_name(declared: Declared) -> str:
    """Give the name of a deployment's flow: its function's, with dashes (a law test holds it)."""
    return declared["entrypoint"].rpartition(":")[2].replace("_", "-")


def values_for(settings: Settings, revision: str | None = None) -> dict[str, str]:
    """Give the value of each variable of prefect.yaml.

    revision: the commit that runs clone; the checkout's own unless told, in a folder its content's digest.
    Raises WillNotHeal where git is needed and cannot tell.
    """
    clones = settings.pull != "folder"
    return {
        "SALES_ENVIRONMENT": settings.environment,
        "SALES_WORK_POOL": settings.work_pool,
        "SALES_SCHEDULES_ACTIVE": str(settings.schedules_active).lower(),
        "SALES_REVISION": revision or (_head() if clones else _digest()),
        "SALES_REPOSITORY": (settings.repository or _origin()) if clones else "",
        "SALES_RESULT_STORAGE": f"{_storage_kind(settings)}/{names.RESULT_STORAGE}",
        "SALES_FOLDER": str(PROJECT),
    }


def values_for_show(settings: Settings, revision: str | None = None) -> dict[str, str]:
    """Give the same values for a plan that is only shown: what git cannot tell is named, not missed."""
    known = {"repository": settings.repository or "SALES_REPOSITORY"}
    return values_for(settings.model_copy(update=known), revision or _git("rev-parse", "HEAD") or "HEAD")


def uncommitted() -> bool:
    """Say whether the checkout has changes that a clone of it would not have."""
    return bool(_git("status", "--porcelain", "--untracked-files=no"))


def _storage_kind(settings: Settings) -> str:
    return "local-file-system" if settings.processed_url.startswith("file:") else "s3-bucket"


def _head() -> str:
    return _git("rev-parse", "HEAD") or _fail("no git checkout; give --revision")


def _origin() -> str:
    url = _git("remote", "get-url", "origin") or _fail("no remote origin; set SALES_REPOSITORY")
    parts = urlsplit(url)
    # A token in the URL would be stored in every deployment.
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.scheme else url


def _digest() -> str:
    """Name the state of the flows by their content: their parameters are stored in the deployments."""
    content = b"".join(path.read_bytes() for path in sorted(PROJECT.glob("flows/*.py")))
    return f"folder-{hashlib.sha256(content).hexdigest()[:12]}"


def _git(*arguments: str) -> str:
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=GIT_SECONDS, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _fail(reason: str) -> str:
    raise WillNotHeal(f"It is not known which code the runs are to clone: {reason}.")
