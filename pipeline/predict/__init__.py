"""A trained run put to use: `python -m pipeline.predict PHOTO`, and its export as a folder that needs no data.

May import `report`, `protocol`, `vision` and what they may.
"""
