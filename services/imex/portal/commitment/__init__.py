"""Storage commitment for senders: yes only for what a receiving archive has itself committed."""
