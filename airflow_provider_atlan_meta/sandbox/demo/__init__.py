"""Webhooks through real servers, live for people (``make demo``) or checked (``make demo-once``)."""
