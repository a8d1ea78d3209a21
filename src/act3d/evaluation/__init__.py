"""Protocols, probes, metrics and comparisons. Slow libraries are imported by the files that use them."""
