"""Data sets: importing recordings, storing them, splitting them, and the clips that networks are trained on.

Nothing is imported here: all but `clips` does without torch.
"""
