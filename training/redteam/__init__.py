"""Attacks on a running service: a search of our own, judged by what was delivered; and garak's report."""
