"""Messages of the Open Inference Protocol, generated from `proto/` by `make proto`.

Never import this beside another package's stubs of the same protocol: a process has one registry of
message names.
"""
