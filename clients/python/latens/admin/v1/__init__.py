"""Messages and stubs of `latens.admin.v1`, generated from `proto/` by `make proto`."""
