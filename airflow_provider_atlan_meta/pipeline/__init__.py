"""Moves data between ports; knows no client."""
