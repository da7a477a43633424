"""Recipes: spiking networks whose steps are chosen site by site, from measured sensitivities."""
