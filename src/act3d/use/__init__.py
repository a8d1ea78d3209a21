"""Trained models in use: files -> tensors -> model -> names, for every command and for Python."""
