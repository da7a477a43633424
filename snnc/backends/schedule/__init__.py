"""The second backend: a spiking network on the cores of a chip, as a schedule of spike events."""
