"""Anonymizers as torch modules, preprocessing included, and how they become bundles.

Nothing is imported here: data sets are imported and looked at without torch.
"""
