# Runs a bundle on a Thor with JetPack 7.0 or 7.1 (L4T 38.2 or 38.4, CUDA 13.0).
# No l4t-tensorrt tag for JetPack 7 was found; the arm64 build of this server image was reported to start on a Thor.
# Nothing of edgekit is installed; run.sh needs a shell and trtexec only.
ARG BASE_IMAGE=nvcr.io/nvidia/tensorrt:25.08-py3
FROM ${BASE_IMAGE}

ARG BASE_IMAGE
LABEL org.opencontainers.image.title="edgekit bundle, JetPack 7" \
      org.opencontainers.image.description="Builds and times the TensorRT engine of the edgekit bundle at /bundle" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"

ENV EDGEKIT_ROOT=/host \
    NVIDIA_VISIBLE_DEVICES=all \
    PATH=/opt/tensorrt/bin:/usr/src/tensorrt/bin:$PATH
# A base without trtexec is refused here and not on the board.
# Docker hides /proc/device-tree: run.sh looks for the board under /host, where `docker run` mounts what names it.
RUN if ! command -v trtexec >/dev/null; then echo "${BASE_IMAGE} has no trtexec" >&2; exit 1; fi && \
    mkdir -p /host/usr/local && ln -s /sys /host/sys && ln -s /usr/local/cuda /host/usr/local/cuda

USER 10001:10001
WORKDIR /bundle
ENTRYPOINT ["sh", "/bundle/run.sh"]
