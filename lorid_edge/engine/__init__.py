"""The engine: batched generation under several adapters on one base, through llama.cpp's C API."""
