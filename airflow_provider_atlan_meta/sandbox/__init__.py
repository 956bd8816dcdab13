"""Real servers on loopback, from wheels and jars."""
