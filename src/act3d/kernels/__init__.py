"""Faster equals of the plain code in models and geometry; `dispatch` decides which form runs."""
