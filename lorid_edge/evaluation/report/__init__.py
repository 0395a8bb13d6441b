"""One page about evaluation runs: figures, tables, and where both reasoners were wrong together."""
