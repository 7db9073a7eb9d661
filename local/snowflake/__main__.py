"""Start the embedded Snowflake: `python -m local.snowflake --home DIR [--port N --memory 4GB --threads 2]`."""

import logging
import sys

from local.service import parse_options, serve_app, service_parser


def main() -> None:
    """Open the warehouse under `--home` and serve it until told to stop."""
    parser = service_parser("Snowflake's wire protocol on DuckDB, kept on disk")
    parser.add_argument("--memory", default="4GB", help="memory limit of DuckDB")
    parser.add_argument("--threads", type=int, default=2, help="worker threads of DuckDB")
    parser.add_argument(
        "--idle-seconds", type=float, default=30, help="after which a silent transaction gives way to others"
    )
    options = parse_options(parser)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    logging.getLogger("fakesnow.server").propagate = False  # it writes by uvicorn's handler already

    # Imported late: these pull in DuckDB, the connector and pandas, which `--help` does not need.
    from local.snowflake.persistence import HomeInUseError, Warehouse
    from local.snowflake.protocol import application

    try:
        warehouse = Warehouse(options.home, options.memory, options.threads, options.idle_seconds)
    except HomeInUseError as error:
        sys.exit(str(error))
    serve_app(application(warehouse), options, account="local")


if __name__ == "__main__":
    main()
