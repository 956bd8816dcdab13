"""Real servers on loopback, from wheels and jars. ``lifecycle.Sandbox`` is the way in."""
