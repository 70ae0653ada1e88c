"""Values and decisions; touches nothing."""
