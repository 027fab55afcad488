"""The read side: SELECTs over the other services' schemas.

Every query on shares, studies or quarantine takes the caller's scope, which it cannot omit.
"""
