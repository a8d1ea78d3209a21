"""Pretrained Transformers of several sources, read into act3d's own blocks."""
