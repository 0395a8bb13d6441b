"""The trainer: from records to LoRA adapters. Needs the extra `train`."""
