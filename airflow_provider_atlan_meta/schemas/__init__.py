"""JSON schemas of what crosses a process border."""
