"""The drivers beside the tests run in processes of their own, and import each other as scripts do."""

collect_ignore = ["damage.py", "full_disk.py", "kill.py", "small.py"]
