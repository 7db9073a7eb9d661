"""The embedded stack: starts the stand-ins side by side, knows when each can be used, stops them all.

Whoever starts the stack owns it: the owner holds a lock on its home and one end of a pipe to every service.
When the owner ends, in whatever way, the pipes close and the services stop by themselves.
"""

import argparse
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from pydantic import SecretStr

from blocks.errors import WillNotHeal
from blocks.settings import (
    EMBEDDED,
    PROJECT,
    EmbeddedSettings,
    Settings,
    StackSettings,
    embedded_settings_file,
    load_stack_settings,
)
from local.service import HOST, STOP_GRACE_SECONDS, ready_file
from local.spark_runtime import LARGE_BATCH

Facts = dict[str, Any]
LOG_LINES_SHOWN = 5
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Service:
    """A stand-in: its name (and module in `local`), the services it needs, its own arguments."""

    name: str
    needs: tuple[str, ...] = ()
    arguments: Callable[[Mapping[str, Facts]], list[str]] = lambda _ready: []


def services(home: Path) -> list[Service]:
    """List the stand-ins; those that take longest to start come first."""
    token_file, api_token_file = home / "databricks.token", home / "sales_api.token"
    return [
        Service("prefect_server"),
        Service("snowflake"),
        Service("kafka"),
        Service("databricks", arguments=lambda _ready: ["--token-file", str(token_file)]),
        Service("slack"),
        Service("sales_api", arguments=lambda _ready: ["--token-file", str(api_token_file)]),
        Service("connect", ("kafka",), lambda ready: ["--bootstrap", ready["kafka"]["bootstrap"]]),
    ]


class Stack:
    """The running stack under one home folder; made by `running` or `attach`."""

    def __init__(self, where: StackSettings) -> None:
        self.where = where
        self.home = where.home.resolve()
        self.ready: dict[str, Facts] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        # The same addresses as last time keep open pages and dbt's parsed project valid.
        self._last_ports: dict[str, int] = _read_json(self.home / "ports.json")

    def start(self, on_ready: Callable[[str, float], None]) -> None:
        """Start every service as soon as what it needs is there; call `on_ready(name, seconds)` for each.

        Raises WillNotHeal, naming the service and the end of its log, if one ends or takes too long.
        """
        (self.home / "stack.json").write_text(json.dumps({"pid": os.getpid()}))
        self._prepare_home()
        waiting, began = services(self.home), time.monotonic()
        while waiting or len(self.ready) < len(self._processes):
            for service in [s for s in waiting if all(need in self.ready for need in s.needs)]:
                self._launch(service)
                waiting.remove(service)
            for name in [name for name in self._processes if name not in self.ready]:
                if facts := self._look(name, time.monotonic() - began):
                    self.ready[name] = facts
                    on_ready(name, time.monotonic() - began)
            time.sleep(POLL_SECONDS)
        self._write_settings()

    def stop(self) -> None:
        """Stop every service, the ones that use others first; whatever does not stop is killed."""
        embedded_settings_file(self.home).unlink(missing_ok=True)
        for group in (["connect"], [name for name in self._processes if name != "connect"]):
            members = [self._processes[name] for name in group if name in self._processes]
            for process in members:
                process.terminate()
            for process in members:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_GRACE_SECONDS * 2)
                process.kill()
                process.wait()
                assert process.stdin
                process.stdin.close()
        (self.home / "stack.json").unlink(missing_ok=True)

    def settings(self) -> Settings:
        """Give the settings by which blocks point at this stack."""
        token = (self.home / "databricks.token").read_text()
        ready, storage = self.ready, self.home / "storage"
        return EmbeddedSettings(
            environment=EMBEDDED,
            prefect_api_url=ready["prefect_server"]["api"],
            snowflake_account=EMBEDDED,
            snowflake_password=SecretStr(EMBEDDED),
            snowflake_endpoint=ready["snowflake"]["url"],
            databricks_host=f"{HOST}:{ready['databricks']['port']}",
            databricks_token=SecretStr(token),
            databricks_ca_file=ready["databricks"]["ca"],
            databricks_poll_seconds=0.5,
            databricks_cluster={"large_batch_spark_conf": dict(LARGE_BATCH)},
            drop_url=f"file://{storage / 'drop'}",
            raw_url=f"file://{storage / 'raw'}",
            processed_url=f"file://{storage / 'processed'}",
            kafka_bootstrap_servers=ready["kafka"]["bootstrap"],
            kafka_security_protocol="PLAINTEXT",
            kafka_sasl_mechanism=None,
            kafka_replication_factor=1,
            kafka_connect_tasks_max=1,
            kafka_connect_url=ready["connect"]["url"],
            sales_api_url=ready["sales_api"]["url"],
            sales_api_token=SecretStr((self.home / "sales_api.token").read_text()),
            alerts_webhook_url=SecretStr(f"{ready['slack']['url']}/services/sales"),
            metrics_file=str(self.home / "metrics" / "sales_pipeline.prom"),
            aws_access_key_id=EMBEDDED,
            aws_secret_access_key=SecretStr(EMBEDDED),
            work_pool_type="process",
            pull="folder",
            schedules_active=False,
        )

    def log(self, name: str) -> Path:
        """Name the log file of a service."""
        return self.home / "logs" / f"{name}.log"

    def _prepare_home(self) -> None:
        for folder in ("logs", "storage/drop", "storage/raw", "storage/processed"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        embedded_settings_file(self.home).unlink(missing_ok=True)
        sweep(self.home)
        for name in ("databricks", "sales_api"):
            _write_private(self.home / f"{name}.token", secrets.token_hex(16))
        for service in services(self.home):
            if (port := self._port(service.name)) and not port_is_free(port):
                self._forget_port(service.name, port)

    def _port(self, name: str) -> int:
        """Give the port that the settings ask for, else the last one if it is free, else 0 for any."""
        wanted = getattr(self.where, f"{name.removesuffix('_server')}_port", 0)
        return wanted or self._last_ports.get(name, 0)

    def _forget_port(self, name: str, port: int) -> None:
        """Take another port than last time; a port that the settings ask for is an error instead."""
        setting = f"{name.removesuffix('_server')}_port"
        if getattr(self.where, setting, 0):
            raise WillNotHeal(
                f"Port {port}, which SALES_{setting.upper()} gives to the embedded {name}, is taken. "
                f"Free it, set SALES_{setting.upper()} to another port, or unset it to take any free one."
            )
        self._last_ports.pop(name)

    def _launch(self, service: Service) -> None:
        own_home = self.home / service.name
        ready_file(own_home).unlink(missing_ok=True)
        command = [sys.executable, "-m", f"local.{service.name}", "--home", str(own_home), "--lifeline"]
        if port := self._port(service.name):
            command += ["--port", str(port)]
        with self.log(service.name).open("ab") as log:
            self._processes[service.name] = subprocess.Popen(
                command + service.arguments(self.ready),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=PROJECT,
                start_new_session=True,  # Ctrl-C in the terminal goes to the owner alone
            )

    def _look(self, name: str, seconds: float) -> Facts | None:
        """Give what a service announced; None while it is still starting."""
        code = self._processes[name].poll()
        if code is None and ready_file(self.home / name).exists():
            return json.loads(ready_file(self.home / name).read_text())
        if code is None and seconds < self.where.start_timeout_seconds:
            return None
        what = f"ended with code {code}" if code is not None else f"was not ready after {seconds:.0f} s"
        lines = self.log(name).read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        raise WillNotHeal(
            f"The embedded {name} {what}. Its log, {self.log(name)}, ends:\n  " + "\n  ".join(lines)
        )

    def _write_settings(self) -> None:
        ports = {name: facts["port"] for name, facts in self.ready.items() if "port" in facts}
        (self.home / "ports.json").write_text(json.dumps(ports))
        settings = self.settings()
        plain = {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in settings.model_dump().items()
        }
        _write_private(embedded_settings_file(self.home), json.dumps(plain))


@contextmanager
def running(where: StackSettings, on_ready: Callable[[str, float], None]) -> Iterator[Stack]:
    """Own a running stack for the time of the `with`; it is stopped at the end, whatever happens.

    Raises WillNotHeal if another process owns the stack of this home.
    """
    home = where.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    with (home / "stack.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WillNotHeal(
                f"The stack in {home} is in use by process {owner(home)}. Wait for it, run `sales down`, or set "
                "SALES_HOME to another folder."
            ) from None
        stack = Stack(where)
        try:
            stack.start(on_ready)
            yield stack
        finally:
            stack.stop()


def owner(home: Path) -> int | None:
    """Give the process that owns the stack of this home; None if nobody does."""
    if not (home / "stack.lock").exists():
        return None
    with (home / "stack.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_json(home / "stack.json").get("pid")
    return None


def forget_if_dead(home: Path) -> None:
    """Remove the settings of a stack whose owner was killed, so that no command speaks to servers long gone."""
    if owner(home) is None:
        embedded_settings_file(home).unlink(missing_ok=True)


def sweep(home: Path) -> None:
    """End services that a killed owner left behind: they are stopping already, so wait for them first."""
    left = [process for process in psutil.process_iter(["cmdline"]) if _is_service_of(home, process)]
    _, stubborn = psutil.wait_procs(left, timeout=STOP_GRACE_SECONDS * 2 if left else 0)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=STOP_GRACE_SECONDS)


def _is_service_of(home: Path, process: psutil.Process) -> bool:
    command = process.info["cmdline"] or []
    homes = {str(home / service.name) for service in services(home)}
    return any(part.startswith("local.") for part in command) and not homes.isdisjoint(command)


def port_is_free(port: int) -> bool:
    """Try whether a service could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600, exist_ok=True)
    path.chmod(0o600)
    path.write_text(text)


def keep_running(where: StackSettings) -> None:
    """Own a stack until SIGTERM or SIGINT; what `sales up` leaves in the background."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with running(
        where, lambda name, seconds: print(f"{name} ready after {seconds:.1f} s", flush=True)
    ) as stack:
        while all(process.poll() is None for process in stack._processes.values()):
            time.sleep(1)
        ended = [name for name, process in stack._processes.items() if process.poll() is not None]
        print(f"{', '.join(ended)} ended by itself; stopping the rest", flush=True)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    keep_running(load_stack_settings())
