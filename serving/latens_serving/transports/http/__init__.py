"""The HTTP port: the RPCs over Connect and gRPC-Web, the explorer page, metrics and probes."""
