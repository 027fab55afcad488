"""The Kafka engine: intake, order, offsets, failure policy, outbox relay and service life cycle."""
