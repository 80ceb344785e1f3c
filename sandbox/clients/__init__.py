"""Small processes around a Redis: the watch on its latency, a network path to it, and other users of it.

They import nothing but the standard library, so that each starts at once and weighs little.
"""
