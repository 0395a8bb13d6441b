"""Packs: a base model, three roles and their prompts, described by one manifest."""
