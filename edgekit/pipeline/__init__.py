"""One file a command: each puts stages together, and is where files, clocks and devices are touched."""
