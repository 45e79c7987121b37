"""Define what can be asked of preparation, and resolve it against what the source holds."""
