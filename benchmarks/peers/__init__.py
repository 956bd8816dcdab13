"""What one would use instead, written as its documentation shows it, and as well as we can."""
