"""The page of results and its figures, drawn without a network.

May import `protocol`, `vision` and what they may.
"""
