# The whole toolkit plus TensorRT, for an NVIDIA GPU on x86: what needs trtexec or the tensorrt module finds it here.
# torch stays the CPU build of constraints.txt: the GPU is for TensorRT.
ARG BASE_IMAGE=nvcr.io/nvidia/tensorrt:25.08-py3
FROM ${BASE_IMAGE}

ARG BASE_IMAGE
LABEL org.opencontainers.image.title="edgekit with TensorRT" \
      org.opencontainers.image.description="Quantizes MobileNets to int8 and builds their TensorRT engines" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"

# HOME and USER serve whoever `--user` names, who is in no passwd file.
ENV HOME=/tmp \
    PATH=/opt/edgekit/bin:/opt/tensorrt/bin:/usr/src/tensorrt/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    USER=edgekit

# The environment sees the tensorrt module of the base and uses its pip; a base that lacks what is needed is refused.
RUN python3 -m venv --without-pip --system-site-packages /opt/edgekit && \
    if ! command -v trtexec >/dev/null; then echo "${BASE_IMAGE} has no trtexec" >&2; exit 1; fi && \
    if ! /opt/edgekit/bin/python3 -c \
        'from importlib.util import find_spec as f; exit(None in map(f, ("pip", "tensorrt")))'; \
    then echo "${BASE_IMAGE} has no tensorrt module or no pip" >&2; exit 1; fi

WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY calibration ./calibration
COPY edgekit ./edgekit
COPY engines ./engines
# NVIDIA's images may pin packages through PIP_CONSTRAINT; here constraints.txt does. torch alone comes from the index
# of its CPU builds: PyPI's build of the same version brings a CUDA of its own.
RUN export PIP_CONSTRAINT='' && \
    python3 -m pip install --no-cache-dir --no-deps --ignore-installed \
        --index-url https://download.pytorch.org/whl/cpu -c constraints.txt torch && \
    python3 -m pip install --no-cache-dir -c constraints.txt .

USER 10001:10001
WORKDIR /work
ENTRYPOINT ["edgekit"]
CMD ["--help"]
