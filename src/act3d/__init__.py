"""act3d: teach 3D Transformers with pretrained image and text Transformers."""

__version__ = "0.1.0"
