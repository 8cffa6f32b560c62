"""Triton kernels: for each operator the jit functions and the launcher that the CUDA key calls."""
