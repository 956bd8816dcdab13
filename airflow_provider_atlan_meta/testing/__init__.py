"""Fakes of the ports and the contract suites that hold them to the real thing."""
