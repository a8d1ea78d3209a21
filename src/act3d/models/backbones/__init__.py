"""Pretrained Transformers from wherever they are published, read into act3d's own blocks."""
