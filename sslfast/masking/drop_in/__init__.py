"""Functions and classes under their peers' names, arguments and defaults: swapping is one import.

One module per peer. Where the peer's rule has a defect that shapes its distribution, the drop-in has it too and its
docstring names it; the rules in :mod:`sslfast.masking` are right by construction.
"""
