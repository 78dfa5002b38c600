# One image for every role: webserver, daemon, code server, run, API, migration, clean-up. The command decides which;
# docs/image.md lists the commands, what each may write, and how the image is built, pinned and scanned.

# A version, not a digest: the tag is built anew with every security update of Debian, and a digest written down here
# would keep the holes of its day. A build that has to be repeated to the bit names the digest:
#   docker buildx imagetools inspect python:3.11.15-slim-bookworm --format '{{.Manifest.Digest}}'
#   docker buildx build --build-arg PYTHON_IMAGE=python:3.11.15-slim-bookworm@sha256:... .
# 3.11, because every figure in docs/ was measured on it.
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PIP_NO_CACHE_DIR=1
WORKDIR /build

# First what changes seldom. Wheels only: nothing is compiled, so that this stage needs no compiler either. pip stays
# outside of the environment it fills.
COPY requirements-runtime.lock ./
RUN python -m venv --without-pip /opt/venv && \
    python -m pip --python /opt/venv/bin/python install --no-compile --no-deps --only-binary :all: --require-hashes \
        --requirement requirements-runtime.lock

# The build backend is no part of the runtime lock; its pin and hashes are those of the other one.
COPY requirements.lock ./
RUN awk '/^setuptools==/ { found = 1 } found { print } found && !/\\$/ { exit }' requirements.lock > build.lock && \
    python -m pip install --no-deps --require-hashes --requirement build.lock

# The wheel is unpacked beside migrations/, dagster.yaml, workspace.yaml and data/, where the package looks for them.
COPY pyproject.toml README.md ./
COPY market_spine ./market_spine
RUN python -m pip wheel --no-deps --no-index --no-build-isolation --wheel-dir dist . && \
    python -m pip --python /opt/venv/bin/python install --no-compile --no-deps --no-index \
        --target /opt/market-spine dist/*.whl && \
    packages="$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" && \
    echo /opt/market-spine > "$packages/market_spine.pth"
COPY migrations /opt/market-spine/migrations
COPY data /opt/market-spine/data
COPY dagster.yaml workspace.yaml /opt/market-spine/

# Compiled here, since nobody may write there later; by hash, so that the same sources give the same files.
RUN /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib /opt/market-spine


FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="Market Spine" \
      org.opencontainers.image.description="OTC trade reports become right, queryable daily metrics." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"

# The base image's pip goes: nothing is installed in a container, and scanners find less.
# Dagster writes what runs print below DAGSTER_HOME/storage; with a read-only root that folder is a volume.
RUN python -m pip uninstall --yes --quiet --root-user-action ignore pip && \
    rm -rf /usr/local/lib/python3*/ensurepip && \
    groupadd --gid 10001 market-spine && \
    useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin market-spine && \
    install -d -o 10001 -g 10001 /opt/dagster/dagster_home /opt/dagster/dagster_home/storage

COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/market-spine /opt/market-spine
COPY --chown=10001:10001 dagster.yaml /opt/dagster/dagster_home/dagster.yaml

# MARKET_SPINE_STATE: for what a command notes on its machine; a container keeps nothing.
ENV PATH=/opt/market-spine/bin:/opt/venv/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    HOME=/tmp \
    DAGSTER_HOME=/opt/dagster/dagster_home \
    MARKET_SPINE_STATE=/tmp/market-spine
WORKDIR /opt/market-spine
USER 10001:10001
EXPOSE 3000 3030 8000
STOPSIGNAL SIGTERM
# Asks the service that process 1 is; a run or a migration is none and counts as healthy. Kubernetes has its own probes.
HEALTHCHECK --interval=20s --timeout=10s --start-period=60s --retries=3 CMD ["spine", "health"]
CMD ["spine", "--help"]
