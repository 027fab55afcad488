"""PACSs and senders that misbehave on demand, for joining sites and for tests."""
