# rankwell with FAISS on the CPU and the Elasticsearch client; see docker-compose.yml.
FROM python:3.11-slim
WORKDIR /rankwell
COPY . .
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    -c constraints.txt 'torch==2.13.0+cpu' '.[cpu,elasticsearch]'
RUN mkdir /collection && chown nobody /collection
USER nobody
ENV NUMBA_CACHE_DIR=/tmp HOME=/tmp
CMD ["rankwell", "--help"]
