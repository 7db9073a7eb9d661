# syntax=docker/dockerfile:1.17
# The pipeline as an image, for Docker, ECS and Kubernetes work pools (target runtime, the last one) and for developers
# (target dev). Tags are exact versions; a registry that mirrors them may add digests: docs/releasing.md says how.
FROM python:3.11.14-slim-bookworm AS base
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DO_NOT_TRACK=1 \
    PATH=/opt/venv/bin:$PATH
# The same number on every machine, so that a volume's owner is known.
RUN groupadd --gid 10001 sales && useradd --uid 10001 --gid sales --create-home sales \
    && python -m venv /opt/venv
WORKDIR /app

FROM base AS requirements
COPY requirements/runtime.txt requirements/runtime.txt
# The lock names every package with its hash, so nothing is resolved and nothing unknown is installed.
RUN pip install --no-deps --require-hashes -r requirements/runtime.txt

FROM base AS dev
# git for the tests that read what is tracked, make for the commands of the README. Java comes with a wheel.
RUN apt-get update && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/dev.txt requirements/dev.txt
RUN pip install --no-deps --require-hashes -r requirements/dev.txt
COPY --chown=sales:sales . .
RUN pip install --no-deps --no-build-isolation --editable . && chown -R sales:sales /app
USER 10001:10001
CMD ["python", "-m", "pytest"]

FROM base AS runtime
COPY --from=requirements /opt/venv /opt/venv
COPY pyproject.toml prefect.yaml README.md ./
COPY blocks blocks
COPY cli cli
COPY dbt dbt
COPY environments environments
COPY expectations expectations
COPY flows flows
COPY local local
COPY monitoring monitoring
COPY spark_jobs spark_jobs
COPY sql sql
COPY streaming streaming
COPY tasks tasks
# The project stays a folder that PYTHONPATH names, so the command is written here.
RUN printf '#!/opt/venv/bin/python\nfrom cli.app import main\nmain()\n' > /opt/venv/bin/sales && chmod 755 /opt/venv/bin/sales
# dbt writes beside its project, Prefect's server to a volume, which takes over the folder's owner; all else is root's.
RUN mkdir -p dbt/target dbt/logs /var/lib/prefect && chown -R sales:sales dbt/target dbt/logs /var/lib/prefect
ENV PYTHONPATH=/app
USER 10001:10001
# No HEALTHCHECK: a flow run is a process that ends, and its exit code is its health. The worker of compose.yaml
# has one, by the health endpoint of the worker.
CMD ["sales", "--help"]
