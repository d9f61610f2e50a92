"""What may be learnt from, and what is judged: tasks, epochs chosen on validation, training, the test images once.

May import `models`, `datasets` and `common`.
"""
