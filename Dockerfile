# The wheel, as a release has it.
FROM python:3.11-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY docs/man docs/man
COPY systemd systemd
COPY vh5d vh5d
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

# With the versions of everything else that the tests ran with.
FROM python:3.11-slim AS program
COPY requirements-ci.txt /
COPY --from=wheel /dist /dist
RUN python -m venv /opt/vh5d \
    && /opt/vh5d/bin/pip install --no-cache-dir --constraint /requirements-ci.txt /dist/*.whl

FROM python:3.11-slim
# A fresh volume takes its owner from the directory that it is mounted on.
RUN useradd --system --uid 10001 --user-group --no-create-home vh5d \
    && install --directory --owner=vh5d --group=vh5d /stores
COPY --from=program /opt/vh5d /opt/vh5d
ENV PATH=/opt/vh5d/bin:$PATH HOME=/tmp
USER vh5d
ENTRYPOINT ["vh5d"]
CMD ["--help"]
