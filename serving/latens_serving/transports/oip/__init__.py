"""The Open Inference Protocol (KServe v2): the encoder and the decoder of each bundle as a model.

A second door to the same models: it goes through the batchers, limits and errors of the first.
"""
