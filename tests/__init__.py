"""Tests of skelanon."""
