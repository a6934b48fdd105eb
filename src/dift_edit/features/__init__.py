"""Featurizers: a picture in, a `FeatureMap` out."""
