"""Flavours: parameters in, ONNX out, nothing measured. One file each."""
