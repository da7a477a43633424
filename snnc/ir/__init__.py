"""The spiking intermediate representation: graph, neuron base, verification, text."""
