"""Who is asking: bearer tokens, accounts, sessions, and forms that cannot be forged."""
