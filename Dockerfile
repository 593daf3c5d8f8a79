# lora-ci with everything it can use, at the versions of requirements.lock. See runner/README.md.
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    # A mounted repository belongs to another user; git reads it only if told to.
    && git config --system --add safe.directory '*' \
    && useradd --create-home --uid 10001 lora-ci

COPY pyproject.toml requirements.lock README.md LICENSE NOTICE /src/
COPY lora_ci /src/lora_ci
COPY examples/emoji /src/examples/emoji
RUN pip install --no-cache-dir --constraint /src/requirements.lock '/src[all]' \
    && rm -rf /src

ENV DVC_NO_ANALYTICS=1 HF_HUB_OFFLINE=1
USER lora-ci
WORKDIR /repository
ENTRYPOINT ["lora-ci"]
CMD ["--help"]
