"""Fonts as a set of images: every face found on a machine draws the same characters."""
