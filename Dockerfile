FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE requirements-ci.txt ./
COPY vh5d vh5d
COPY systemd systemd
# The versions that the tests ran with.
RUN python -m venv /opt/vh5d \
    && /opt/vh5d/bin/pip install --no-cache-dir --constraint requirements-ci.txt .

FROM python:3.11-slim
# A fresh volume takes its owner from the directory that it is mounted on.
RUN useradd --system --uid 10001 --user-group --no-create-home vh5d \
    && install --directory --owner=vh5d --group=vh5d /stores
COPY --from=build /opt/vh5d /opt/vh5d
ENV PATH=/opt/vh5d/bin:$PATH HOME=/tmp
USER vh5d
ENTRYPOINT ["vh5d"]
CMD ["--help"]
