"""Faster equals of the plain code behind models and geometry; `dispatch` decides which form runs."""
