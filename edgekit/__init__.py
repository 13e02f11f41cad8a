"""edgekit: quantize MobileNets to int8 for edge devices, and prove what it cost."""

__version__ = "0.1.0"
