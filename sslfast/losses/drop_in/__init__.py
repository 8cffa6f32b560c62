"""Losses under their peers' names, arguments and defaults: swapping is one import. One module per peer."""
