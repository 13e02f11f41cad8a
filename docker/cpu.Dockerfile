# The whole toolkit without a GPU, with the versions of constraints.txt, on the Python they are tested on.
FROM python:3.11-slim-bookworm AS build

WORKDIR /src
RUN python3 -m venv /opt/edgekit
ENV PATH=/opt/edgekit/bin:$PATH
COPY constraints.txt ./
# torch alone comes from the index of its CPU builds: PyPI's build of the same version brings CUDA along.
RUN pip install --no-cache-dir --no-deps --index-url https://download.pytorch.org/whl/cpu -c constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY calibration ./calibration
COPY edgekit ./edgekit
COPY engines ./engines
RUN pip install --no-cache-dir -c constraints.txt . && pip check

FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="edgekit" \
      org.opencontainers.image.description="Quantizes MobileNets to int8 for edge devices, and proves what it cost" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm"

COPY --from=build /opt/edgekit /opt/edgekit
# HOME and USER serve whoever `--user` names, who is in no passwd file.
ENV HOME=/tmp \
    PATH=/opt/edgekit/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    USER=edgekit

USER 10001:10001
WORKDIR /work
ENTRYPOINT ["edgekit"]
CMD ["--help"]
