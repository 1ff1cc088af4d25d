# Latens: `make run` trains on the embedded MNIST, exports and serves; `make test` runs every test.
.DEFAULT_GOAL := help
