# lora-ci with everything it can use, at the versions of requirements.lock: the commands, and the
# bot with `serve`. See docs/runners.md.
FROM python:3.12.14-slim-bookworm@sha256:782412e85d0f0984994c290652577d4018aff08145c85b262bb63dc0c7522254

# The image is pinned; the distribution drops old versions of its packages, so these cannot be.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    # A mounted repository belongs to another user; git reads it only if told to.
    && git config --system --add safe.directory '*' \
    && useradd --create-home --uid 10001 lora-ci \
    && install -d -o lora-ci -g lora-ci /repository /state

COPY pyproject.toml requirements.lock README.md LICENSE NOTICE /src/
COPY lora_ci /src/lora_ci
COPY examples/emoji /src/examples/emoji
RUN pip install --no-cache-dir --constraint /src/requirements.lock '/src[all]' \
    && rm -rf /src

ENV DVC_NO_ANALYTICS=1 HF_HUB_OFFLINE=1
USER 10001:10001
WORKDIR /repository
# Of `docker run … lora-ci serve --host 0.0.0.0 --port 8080`. Any other command has no health to
# look at, and ends by itself.
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-I", "-c", "import os, urllib.request; b'serve' not in open('/proc/1/cmdline', 'rb').read().split(b'\\0') or urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["lora-ci"]
CMD ["--help"]
