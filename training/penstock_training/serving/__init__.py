"""Write a model that takes and returns raw ids, and ask it."""
