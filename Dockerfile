# kubemint's image: a virtual environment with the wheel built from this checkout and its pinned, hashed dependencies.
# Runs as 65532 with a read-only root file system; needs /tmp to be writable, and /var/lib/kubemint for a ledger in a file.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements/build.txt requirements/runtime.txt requirements/
# The service's environment has no pip of its own: the builder's installs into it.
RUN python3 -m venv /opt/build \
 && python3 -m venv --without-pip /opt/kubemint \
 && /opt/build/bin/pip install --require-hashes -r requirements/build.txt \
 && /opt/build/bin/pip --python /opt/kubemint/bin/python3 install --require-hashes --only-binary :all: -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE openapi.yaml ./
COPY service service
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/build/bin/pip --python /opt/kubemint/bin/python3 install --no-deps --no-index dist/*.whl

FROM ${PYTHON_IMAGE}
RUN groupadd --system --gid 65532 kubemint \
 && useradd --system --uid 65532 --gid 65532 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin kubemint \
 && install -d -o 65532 -g 65532 -m 0700 /var/lib/kubemint
COPY --from=build /opt/kubemint /opt/kubemint
ENV PATH=/opt/kubemint/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    KUBEMINT_CONFIG=/etc/kubemint/kubemint.yaml
USER 65532:65532
EXPOSE 8443
ENTRYPOINT ["kubemint"]
CMD ["serve"]
