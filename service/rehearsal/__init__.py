"""What a policy would do, before it is in force: cases, stored traffic, another policy."""
