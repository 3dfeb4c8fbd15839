"""Task sources: one block per file, and what row sources share."""
