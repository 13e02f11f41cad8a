# Runs a bundle on a Xavier or Orin with JetPack 5.1 to 5.1.6 (L4T 35.2.1 to 35.6.4, TensorRT 8.5.2).
# Its Python is 3.8, so nothing of edgekit is installed; run.sh needs a shell and trtexec only.
# The base is the -devel image because trtexec was seen there; whether the -runtime images have it is not known.
ARG BASE_IMAGE=nvcr.io/nvidia/l4t-tensorrt:r8.5.2.2-devel
FROM ${BASE_IMAGE}

ARG BASE_IMAGE
LABEL org.opencontainers.image.title="edgekit bundle, JetPack 5.1" \
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
