"""Readers and checks of the file formats that the runtime loads."""
