"""Whether pretraining helps, measured by a protocol that was written before the first number: docs/results/protocol.md.

`python -m benchmarks.evidence --help`. Everything is resumable: one folder for each method and seed.
"""
