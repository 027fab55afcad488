"""The portal: what people see and do, and the HTTP API."""
