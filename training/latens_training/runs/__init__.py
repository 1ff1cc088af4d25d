"""A training run, from its settings to its files: directory, record, state, results."""
