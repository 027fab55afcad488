# One image; its entry points are `imex ingest`, `imex validation`, … and `imex setup`.
# Not built where this was written (no engine there): see docs/platform.md.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/imex && /opt/imex/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY libs ./libs
COPY services ./services
RUN /opt/imex/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin imex
COPY --from=build /opt/imex /opt/imex
ENV PATH=/opt/imex/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
ENTRYPOINT ["imex"]
