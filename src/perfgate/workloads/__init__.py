"""Workloads: what is asked of a loaded engine, one module per kind."""
