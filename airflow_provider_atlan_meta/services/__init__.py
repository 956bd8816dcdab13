"""Long-running processes and the wiring they share with operators."""
