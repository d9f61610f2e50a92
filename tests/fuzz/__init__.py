"""Small valid files of every kind that the pipeline reads, mutated by the thousand: python -m tests.fuzz --help

`kinds` lists them with their readers, `mutate` and `remake` damage them, `pool` runs each case in a child process.
"""
