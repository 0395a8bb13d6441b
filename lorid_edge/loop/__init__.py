"""The loop of the three roles: prompts, stopping rules, and one problem's way to its answer."""
