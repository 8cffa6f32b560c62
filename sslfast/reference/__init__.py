"""Plain PyTorch definitions, one file per operator: the specification of each and the oracle of its tests.

Nothing in sslfast calls them. They favour clarity over speed and memory, run on any device and, where the operator
takes floating point, in float64.
"""
