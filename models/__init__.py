"""The packs that are shipped: one folder each, with a manifest and a README."""
