"""Starting the real parts of a stack (Kafka, MinIO, PostgreSQL, Zipkin) natively on one machine."""
