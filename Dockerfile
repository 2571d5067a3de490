# The serving image: no torch, no compiler, no root.
FROM python:3.11-slim-bookworm AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/fulcrum
ENV PATH=/opt/fulcrum/bin:$PATH
WORKDIR /src
COPY requirements/build.txt requirements/serve.txt requirements/
RUN pip install -r requirements/build.txt -r requirements/serve.txt
COPY pyproject.toml README.md ./
COPY contract contract
COPY service service
COPY training training
COPY fulcrum fulcrum
# `packaging` stays: onnxruntime needs it.
RUN pip install --no-deps --no-build-isolation . \
    && pip uninstall --yes hatchling editables pathspec pluggy trove-classifiers

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin fulcrum \
    && install --directory --owner=fulcrum --group=fulcrum /var/lib/fulcrum
COPY --from=builder /opt/fulcrum /opt/fulcrum
COPY models_onnx /models
ENV PATH=/opt/fulcrum/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FULCRUM_HOST=0.0.0.0 \
    FULCRUM_MODELS_DIR=/models \
    FULCRUM_FUSION_STORE=/var/lib/fulcrum/fusion.sqlite
VOLUME /var/lib/fulcrum
EXPOSE 8000
WORKDIR /var/lib/fulcrum
USER fulcrum
# Past any proxy of the environment: the probe asks this container and nobody else.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.environ.get('FULCRUM_PORT', '8000') + '/readyz', timeout=2)"]
CMD ["fulcrum", "serve"]
