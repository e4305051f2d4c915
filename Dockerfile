# The service on CPU: docker build -t mutualformer-sod . && docker run -p 127.0.0.1:8000:8000 mutualformer-sod
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app

# The packages first: their layer stays when only the code changes. The further index has torch
# without CUDA, whose version (2.x+cpu) pip prefers to the equal one of the main index.
COPY setup.cfg pyproject.toml constraints.txt README.md LICENSE ./
COPY mutualformer_sod/__init__.py mutualformer_sod/
RUN pip install --constraint constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu --editable '.[serve]'

COPY mutualformer_sod mutualformer_sod
COPY weights weights

# Uploads are in /tmp for the time of a request; nothing else is written.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin sod
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:8000/health', timeout=8)"]

# Further flags follow the name of the image, such as --allow-host sod.example --weights tiny.
ENTRYPOINT ["python", "-m", "mutualformer_sod", "serve", "--host", "0.0.0.0", "--port", "8000"]
