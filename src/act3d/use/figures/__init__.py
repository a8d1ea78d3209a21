"""Figures of `act3d show`: shapes and models in, panels with what the evaluation code measures on them out."""
