collect_ignore = ["program.py"]  # a script with processes of its own
