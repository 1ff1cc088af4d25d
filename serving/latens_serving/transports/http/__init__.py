"""The HTTP port: the RPCs by Connect and gRPC-Web, the explorer page, metrics and probes."""
