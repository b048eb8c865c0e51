# Two images: `docker build --target gateway .` (service, guards, review) and `--target training .` (guards and LLM from decisions).
# The engine is the official vLLM image. Pin PYTHON to a digest for releases: --build-arg PYTHON=3.12.12-slim-bookworm@sha256:...
ARG PYTHON=3.12.12-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/sluicegate/bin:$PATH
WORKDIR /src
RUN python -m venv /opt/sluicegate
# dependencies first: they change less often than the code
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir service guards training \
    && pip install --constraint constraints.txt '.[postgres]' \
    && pip uninstall --yes sluicegate
COPY service service
COPY guards guards
COPY training training
RUN pip install --no-deps .

FROM build AS build-training
RUN pip install --constraint constraints.txt '.[postgres,evaluation,training]'

FROM python:${PYTHON} AS base
RUN useradd --uid 10001 --home-dir /var/lib/sluicegate --create-home --shell /usr/sbin/nologin sluicegate
ENV PATH=/opt/sluicegate/bin:$PATH PYTHONDONTWRITEBYTECODE=1 SLUICEGATE_HOME=/var/lib/sluicegate
WORKDIR /var/lib/sluicegate
USER 10001:10001

FROM base AS training
COPY --from=build-training /opt/sluicegate /opt/sluicegate
HEALTHCHECK NONE
ENTRYPOINT ["sluicegate-train"]
CMD ["--help"]

# the last target: what `docker build .` gives
FROM base AS gateway
COPY --from=build /opt/sluicegate /opt/sluicegate
# the console is a container of its own (`sluicegate console`, port 8081), vLLM too
ENV SLUICEGATE_HOST=0.0.0.0 SLUICEGATE_CONSOLE=false SLUICEGATE_CONSOLE_HOST=0.0.0.0
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('SLUICEGATE_PORT', '8080') + '/health/live', timeout=4)"]
ENTRYPOINT ["sluicegate"]
CMD ["serve"]
