"""Recalls and corrections of what was shared: whom they concern, and how far they have come."""
