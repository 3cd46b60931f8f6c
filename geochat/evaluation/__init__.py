"""Evaluation: pure functions on arrays and texts (``functional``), and MMEngine metrics around them (``metrics``)."""
