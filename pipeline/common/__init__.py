"""Plumbing that decides no number: errors, files, params, records, arguments, the machine, and training's loop.

May import nothing else of this project. No stage of dvc.yaml depends on it, so an edit here reruns nothing.
"""
