"""The embedded Prefect: the open-source server and its UI, as `prefect server start` runs it, in this process."""

import os
import socket

from local.service import HOST, parse_options, serve_app, service_parser

# Nothing calls home from a laptop, and no second server is ever started behind the user's back.
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
    # Importing every installed integration to list its block types takes five seconds; ours are registered by us.
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    # A slot whose lease is forgotten at a restart would be taken for ever: leases outlive the server, and then end.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}


def main() -> None:
    """Serve Prefect's API and UI, its database in the service's home."""
    options = parse_options(service_parser(__doc__ or ""))
    options.port = options.port or free_port()
    api = f"http://{HOST}:{options.port}/api"
    os.environ.update(QUIET, PREFECT_HOME=str(options.home), PREFECT_API_URL=api, PREFECT_UI_API_URL=api)
    os.environ["PREFECT_UI_URL"] = f"http://{HOST}:{options.port}"

    from prefect.server.api.server import create_app

    serve_app(create_app(), options, api=api)


def free_port() -> int:
    """Ask the system for a port that is free now; the UI must be told it before the server starts."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
