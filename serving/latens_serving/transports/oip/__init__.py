"""The Open Inference Protocol (KServe v2): the encoder and the decoder of each bundle as a model.

Its calls go through the same batchers, limits and errors as those of `latens.v1`.
"""
