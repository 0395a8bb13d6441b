"""Converters: PEFT adapters to GGUF LoRA files, merging, quantizing, and checking the results."""
