"""What an operator may do to a running server: `latens.admin.v1`."""
