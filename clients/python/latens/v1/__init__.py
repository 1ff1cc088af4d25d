"""Messages and stubs of the contract `latens.v1`, generated from `proto/` by `make proto`."""
