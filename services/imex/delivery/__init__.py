"""Delivery carries shares to endpoints: durable jobs, per-instance outcomes, receipts."""
