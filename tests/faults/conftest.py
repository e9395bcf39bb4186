"""The drivers beside the tests run as processes, and import each other as scripts do."""

collect_ignore = ["damage.py", "full_disk.py", "kill.py", "small.py"]
