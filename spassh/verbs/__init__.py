"""The verbs that a user runs by hand, where nobody waits for milliseconds."""
