# Runs a bundle on an Orin with JetPack 6.1 or 6.2 (L4T 36.4.x, TensorRT 10.3).
# JetPack 6.0 (L4T 36.3, TensorRT 8.6.2) does not mix with it and takes another BASE_IMAGE: see README.md.
# Nothing of edgekit is installed; run.sh needs a shell and trtexec only.
ARG BASE_IMAGE=nvcr.io/nvidia/l4t-tensorrt:r10.3.0-devel
FROM ${BASE_IMAGE}

ARG BASE_IMAGE
LABEL org.opencontainers.image.title="edgekit bundle, JetPack 6" \
      org.opencontainers.image.description="Builds and times the TensorRT engine of the edgekit bundle at /bundle" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"

ENV EDGEKIT_ROOT=/host \
    NVIDIA_VISIBLE_DEVICES=all \
    PATH=/usr/src/tensorrt/bin:$PATH
# A base without trtexec is refused here and not on the board.
# Docker hides /proc/device-tree: run.sh looks for the board under /host, where `docker run` mounts what names it.
RUN if ! command -v trtexec >/dev/null; then echo "${BASE_IMAGE} has no trtexec" >&2; exit 1; fi && \
    mkdir -p /host/usr/local && ln -s /sys /host/sys && ln -s /usr/local/cuda /host/usr/local/cuda

USER 10001:10001
WORKDIR /bundle
ENTRYPOINT ["sh", "/bundle/run.sh"]
