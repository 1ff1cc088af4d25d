"""The RPCs that are more than one run of a graph: one module each, behind `serving.service`."""
