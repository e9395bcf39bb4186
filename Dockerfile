# rankwell with FAISS on the CPU, the Elasticsearch client and OpenTelemetry; see the compose files.
FROM python:3.11-slim AS build
WORKDIR /rankwell
COPY . .
RUN python -m venv /opt/rankwell && /opt/rankwell/bin/pip install --no-cache-dir \
    --extra-index-url https://download.pytorch.org/whl/cpu \
    -c constraints.txt 'torch==2.13.0+cpu' '.[cpu,elasticsearch,otel]'

FROM python:3.11-slim
COPY --from=build /opt/rankwell /opt/rankwell
COPY data/samples /rankwell/data/samples
RUN useradd --system --uid 10001 rankwell && mkdir /collection && chown rankwell /collection
USER rankwell
WORKDIR /collection
ENV PATH=/opt/rankwell/bin:$PATH NUMBA_CACHE_DIR=/tmp HOME=/tmp
# memory stays level while versions swap: what one leaves in pieces goes back to the system
ENV PYTHONMALLOC=malloc MALLOC_ARENA_MAX=2
EXPOSE 8080
CMD ["rankwell", "--help"]
