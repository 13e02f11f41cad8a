# Runs a bundle on a Jetson Nano, TX1, TX2 or Xavier with JetPack 4.6.1 to 4.6.6 (L4T 32.7.x, TensorRT 8.2.1).
# Its Python is 3.6, so nothing of edgekit is installed; run.sh needs a shell and trtexec only.
# TensorRT, trtexec and CUDA are not in this base: on JetPack 4 `--runtime nvidia` mounts the host's.
ARG BASE_IMAGE=nvcr.io/nvidia/l4t-base:r32.7.1
FROM ${BASE_IMAGE}

ARG BASE_IMAGE
LABEL org.opencontainers.image.title="edgekit bundle, JetPack 4.6" \
      org.opencontainers.image.description="Builds and times the TensorRT engine of the edgekit bundle at /bundle" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"

# Docker hides /proc/device-tree: run.sh looks for the board under /host, where `docker run` mounts what names it.
RUN mkdir -p /host/usr/local && ln -s /sys /host/sys && ln -s /usr/local/cuda /host/usr/local/cuda
ENV EDGEKIT_ROOT=/host \
    NVIDIA_VISIBLE_DEVICES=all \
    PATH=/usr/src/tensorrt/bin:$PATH

USER 10001:10001
WORKDIR /bundle
ENTRYPOINT ["sh", "/bundle/run.sh"]
