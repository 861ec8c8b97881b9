"""What is done with snapshots: taking, listing, describing, deleting them, rolling back to one."""
