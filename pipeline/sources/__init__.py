"""Where bytes come from: downloads that resume and are checked, archives that are read without being unpacked.

May import `common`.
"""
